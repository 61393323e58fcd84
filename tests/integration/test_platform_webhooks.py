"""Webhooks of platforms: verified, refused, repeated, out of order - and what they bring about is only a poll."""

import json
import time
from typing import Any

import pytest
from django.test import Client

from jobs.operations import actions, hints
from jobs.platforms.webhooks import sign_standard
from jobs.store import postgres
from tests.support import api
from tests.support.engine import entries, row
from tests.support.platforms import (
    SECRET,
    Pump,
    Stubbed,
    ask,
    events,
    fact,
    fast,
    pump,
    register,
    stub,
)
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["fast", "pump", "stub"]
UNKNOWN, CANCELLED = 6, 9


def _post(
    body: dict[str, Any],
    *,
    delivery: str = "msg_1",
    at_s: float | None = None,
    secret: str = SECRET,
    path: str = "stub",
) -> Any:
    raw = json.dumps(body).encode()
    stamp = int(time.time() if at_s is None else at_s)
    headers = {
        "webhook-id": delivery,
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign_standard(secret, delivery, stamp, raw),
    }
    client = Client(raise_request_exception=False)
    return client.post(
        f"/api/v1/webhooks/{path}", raw, content_type="application/json", headers=headers
    )


def _due_in_s(task_id: Any) -> float:
    [(left_s,)] = postgres.query(
        "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM task WHERE id = %s",
        [task_id],
    )
    return float(left_s)


@pytest.mark.req("E-04")
def test_a_verified_webhook_makes_the_task_due_and_the_poll_settles_it(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=0.1)
    pump.until(lambda: fact(made, "external_id") is not None)
    assert _due_in_s(made.id) > 2
    told = api.data(_post({"id": fact(made, "external_id"), "status": "succeeded"}))
    assert told == {"task_id": made.task_id, "due_now": True, "duplicate": False}
    assert _due_in_s(made.id) <= 1.0
    assert row(made.id, "state", "status") == (3, 1)  # the webhook itself ends nothing
    pump.ends(made, timeout_s=2.5)
    assert len(stub.polls()) == 1


@pytest.mark.req("E-04")
def test_unsigned_old_forged_and_unreadable_webhooks_are_refused(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    body = {"id": fact(made, "external_id"), "status": "succeeded"}
    unsigned = Client().post("/api/v1/webhooks/stub", json.dumps(body), "application/json")
    assert api.error(unsigned, 401)["code"] == "webhook_refused"
    api.error(_post(body, secret="whsec_b3RoZXI="), 401)
    api.error(_post(body, at_s=time.time() - 400), 401)
    api.error(_post(body, at_s=time.time() + 400), 401)
    api.error(_post({"status": "succeeded"}), 401)
    assert _due_in_s(made.id) > 2


@pytest.mark.req("E-04")
def test_unknown_ids_and_platforms_are_404_and_may_be_delivered_again_later(
    stub: Stubbed, pump: Pump
) -> None:
    api.error(_post({"id": "nobody", "status": "succeeded"}), 404)
    api.error(_post({"id": "nobody", "status": "succeeded"}, path="none"), 404)
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    assert api.data(_post({"id": fact(made, "external_id"), "status": "processing"}))["due_now"]


@pytest.mark.req("E-04")
def test_a_delivery_seen_before_changes_nothing_and_is_forgotten_in_time(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    body = {"id": fact(made, "external_id"), "status": "processing"}
    api.data(_post(body))
    postgres.query(
        "UPDATE task SET run_at = clock_timestamp() + interval '1 hour' WHERE id = %s RETURNING 1",
        [made.id],
    )
    assert api.data(_post(body))["duplicate"] is True
    assert _due_in_s(made.id) > 3000
    assert hints.prune() == 0
    postgres.query("UPDATE webhook_delivery SET seen_at = now() - interval '2 hours' RETURNING 1")
    assert hints.prune() == 1


@pytest.mark.req("E-04", "C-04")
def test_webhooks_out_of_order_and_after_the_end_change_no_books(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    external_id = fact(made, "external_id")
    actions.cancel(made.id, actor="test")
    for n, status in enumerate(("succeeded", "processing", "starting", "succeeded")):
        told = api.data(_post({"id": external_id, "status": status}, delivery=f"msg_{n}"))
        assert told["due_now"] is False
    assert row(made.id, "state", "status") == (6, CANCELLED)
    assert entries(made.id) == [(2, -30), (3, 30)]
    assert events(made) == ["cancel", "late_success"]


@pytest.mark.req("E-04", "A-06")
def test_webhooks_pass_in_read_only_mode(stub: Stubbed, pump: Pump, settings: Any) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    settings.ASYNQ_READONLY = True
    api.data(_post({"id": fact(made, "external_id"), "status": "processing"}))


@pytest.mark.req("E-03", "E-04")
def test_a_webhook_ends_an_ambiguous_submit_because_its_url_carries_our_reference(
    stub: Stubbed, pump: Pump, settings: Any
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PUBLIC_URL": "http://127.0.0.1:1/"}
    made = ask(seconds=0.1, on_create="drop")
    pump.until(lambda: row(made.id, "status") == UNKNOWN)
    [prediction] = stub.app.predictions.values()
    assert prediction.webhook == (f"http://127.0.0.1:1/api/v1/webhooks/stub?task={made.task_id}.0")
    body = {"id": prediction.id, "status": "succeeded"}
    api.error(_post(body, path=f"stub?task={made.task_id}.7"), 404)
    api.data(_post(body, path=f"stub?task={made.task_id}.0"))
    pump.ends(made)
    assert row(made.id, "status") == 4
    assert stub.created == 1
    assert "submit_found" in events(made)


@pytest.mark.req("E-04")
def test_no_webhook_is_asked_for_without_a_public_url_or_a_secret(
    stub: Stubbed, pump: Pump, settings: Any
) -> None:
    ask(seconds=60)
    pump.until(lambda: stub.created == 1)
    settings.TASKCENTER = {**settings.TASKCENTER, "PUBLIC_URL": "https://tasks.example.com"}
    register("bare", stub.server.base_url, webhook_secret="")
    ask("bare", seconds=60)
    pump.until(lambda: stub.created == 2)
    assert [p.webhook for p in stub.app.predictions.values()] == [None, None]


@pytest.mark.req("E-04")
def test_the_stubs_own_webhooks_arrive_twice_and_end_the_task_once(
    live: str, stub: Stubbed, pump: Pump, settings: Any
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PUBLIC_URL": live}
    made = ask(seconds=0.3, webhook_twice=True)
    pump.ends(made, timeout_s=2.8)  # the first poll would be due after 3 s
    assert row(made.id, "status") == 4

    def seen() -> bool:
        return bool(postgres.query("SELECT count(*) FROM webhook_delivery")[0][0] == 2)

    eventually(seen)
    assert entries(made.id) == [(2, -30)]
