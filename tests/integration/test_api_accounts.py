"""The API of accounts: grants and the ledger."""

from typing import Any

import pytest

from jobs.domain.errors import Invalid
from jobs.models import CreditEntry
from jobs.operations import credits
from tests.support.api import ApiClient, data, error


@pytest.mark.req("C-01", "A-02")
def test_an_account_is_opened_by_a_grant_and_shows_its_ledger(caller: ApiClient) -> None:
    error(caller.get("/accounts/7"), 404)
    assert data(caller.post("/accounts/7", {"grant": 1000, "reason": "gift"}))["balance"] == 1000
    asked = {"type": "debug:noop", "user_id": 7, "credits": 300}
    task_id = data(caller.post("/tasks", asked), 201)["task_id"]
    assert data(caller.get("/accounts/7")) == {"user_id": 7, "balance": 700}
    first = data(caller.get("/accounts/7/entries?limit=1"))
    assert first["estimated_total"] == 2
    [charge] = first["items"]
    assert (charge["kind"], charge["amount"], charge["task_id"]) == ("charge", -300, task_id)
    [grant] = data(caller.get(f"/accounts/7/entries?cursor={first['next_cursor']}"))["items"]
    assert (grant["kind"], grant["amount"], grant["reason"], grant["task_id"]) == (
        "grant",
        1000,
        "gift",
        None,
    )
    assert {"id", "kind", "amount", "task_id", "reason", "created_at"} <= set(grant)
    assert data(caller.get("/accounts"))["items"] == [{"user_id": 7, "balance": 700}]
    for bad in (0, -5, 2**60, "5", True, None):
        error(caller.post("/accounts/7", {"grant": bad, "reason": "r"}), 422)
    error(caller.post("/accounts/7", {"reason": "r"}), 422)
    error(caller.get("/accounts/seven"), 404)
    error(caller.get("/accounts/99999999999999999999"), 404)


@pytest.mark.req("C-01", "A-02", "T-06")
@pytest.mark.parametrize(
    "given", [{}, {"reason": ""}, {"reason": " \t\n"}, {"reason": None}], ids=str
)
def test_a_grant_without_a_reason_is_refused_and_gives_nothing(
    caller: ApiClient, given: dict[str, Any]
) -> None:
    said = error(caller.post("/accounts/7", {"grant": 5, **given}), 422)
    assert "reason" in str(said)
    error(caller.get("/accounts/7"), 404)
    with pytest.raises(Invalid, match="reason"):
        credits.grant(user_id=7, amount=5, reason=str(given.get("reason") or ""), actor="test")
    assert CreditEntry.objects.count() == 0
