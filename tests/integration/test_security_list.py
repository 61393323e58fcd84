"""Items of the security list that no other file proves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.models import ApiKey
from jobs.operations import credits, keys, tenants
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit, submit_request
from jobs.store import postgres
from tests.integration.admin_support import client_of, text
from tests.support import api
from tests.support.api import ApiClient, client, error

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = (
    "<script>alert(1)</script>",
    '"><svg/onload=alert(1)>',
    "javascript:alert(1)",
    "\u202egnp.exe",
)

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    api.forget()


@pytest.mark.req("S05", "T-02")
def test_a_key_is_changed_for_another_while_both_are_good_and_the_old_one_ends_by_itself() -> None:
    old = keys.create(name="app", scopes=["read"])
    new = keys.create(name="app", scopes=["read"])
    for made in (old, new):
        assert ApiClient(key=made.key, client=client().client).get("/queues").status_code == 200
    ended = datetime.now(UTC) - timedelta(seconds=1)
    ApiKey.objects.filter(key_id=old.key_id).update(expires_at=ended)
    api.forget()
    assert ApiClient(key=old.key, client=client().client).get("/queues").status_code == 401
    assert ApiClient(key=new.key, client=client().client).get("/queues").status_code == 200


@pytest.mark.req("S04", "T-02")
def test_a_mistyped_key_is_refused_without_a_look_into_the_database(
    django_assert_num_queries: object,
) -> None:
    made = keys.create(name="k", scopes=["read"]).key
    assert keys.authenticate(made) is not None
    for at in (-1, -8, -20):
        other = "a" if made[at] != "a" else "b"
        wrong = made[:at] + other + (made[at + 1 :] if at != -1 else "")
        with django_assert_num_queries(0):  # type: ignore[operator]
            assert keys.authenticate(wrong) is None
    assert made.encode() not in bytes(ApiKey.objects.get().hash)


@pytest.mark.req("S10")
@pytest.mark.parametrize("word", HOSTILE)
def test_whatever_a_task_carries_is_shown_as_text(word: str) -> None:
    made = submit(
        "debug:noop",
        {"a": word, word: 1},
        tags=[word],
        business_id=word,
        callback_url="http://127.0.0.1:9/",
        headers={"X-A": "b"},
    )
    root = client_of("root")
    pages = [
        text(root.get(f"/admin/jobs/task/{made.task_id}/")),
        text(root.get("/admin/jobs/task/")),
    ]
    for page in pages:
        assert "<script>alert" not in page and "<svg/onload" not in page
        assert 'href="javascript:' not in page
    assert "a" in pages[0]


@pytest.mark.req("S18", "C-01")
@pytest.mark.parametrize("amount", [1.5, "7", -1, 2**53 + 1, True])
def test_credits_are_whole_bounded_numbers(amount: object) -> None:
    caller = client("submit", "read")
    answer = caller.post("/tasks", {"type": "debug:noop", "user_id": 1, "credits": amount})
    assert answer.status_code in (400, 422)
    assert postgres.query("SELECT count(*) FROM task") == [(0,)]


@pytest.mark.req("S18")
def test_a_caller_sets_neither_balance_nor_refund() -> None:
    credits.grant(user_id=1, amount=10, reason="r", actor="test")
    caller = client("submit", "read")
    for field in ("refunded_credits", "balance", "account_id", "cycle"):
        answer = caller.post("/tasks", {"type": "debug:noop", field: 5})
        error(answer, 400)
        assert field in answer.content.decode()


@pytest.mark.req("S29", "T-01")
def test_the_same_unique_task_of_two_tenants_is_two_tasks() -> None:
    made = [tenants.create(slug) for slug in ("acme", "other")]
    request = TaskRequest(type="debug:noop", payload={"a": 1}, unique_for=60, idempotency_key="k")
    results = [submit_request(request, tenant_id=t.pk) for t in made]
    assert len({r.id for r in results}) == 2
    assert all(not r.existing for r in results)
    stored = postgres.query("SELECT key FROM unique_lock UNION SELECT key FROM idempotency")
    prefixes = {key.partition(":")[0] for (key,) in stored}
    assert prefixes == {str(t.pk) for t in made}


@pytest.mark.req("S28")
def test_every_csv_is_written_through_the_same_guard() -> None:
    writers = [
        path
        for folder in ("jobs", "queues_admin", "taskcenter")
        for path in (ROOT / folder).rglob("*.py")
        if "csv.writer" in path.read_text() or "DictWriter" in path.read_text()
    ]
    assert len(writers) >= 3
    for path in writers:
        assert "safe(" in path.read_text(), path
