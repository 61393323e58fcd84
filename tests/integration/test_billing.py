"""Billing elsewhere: every entry arrives, with the same key at each try, whoever is down or dies meanwhile."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from jobs.contract.reader import contract
from jobs.operations import billing, credits, duties
from jobs.operations.tasks import submit
from jobs.platforms.webhooks import verify_standard
from jobs.store import catalog, postgres
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer
from taskcenter.devstack import ports
from tests.support.engine import Hand, dead
from tests.support.platforms import Pump, pump

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["pump"]
SECRET = "whsec_YmlsbGluZy1zZWNyZXQ="


class Books:
    """The other service: takes entries, or answers `refuse`."""

    def __init__(self) -> None:
        self.refuse: int | None = None
        self.requests: list[StubRequest] = []

    def __call__(self, request: StubRequest) -> Reply:
        self.requests.append(request)
        return Reply(status=self.refuse or 200, body={})

    def keys(self) -> list[str]:
        return [r.headers["idempotency-key"] for r in self.requests]


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def port() -> int:
    return ports.free_port()


@pytest.fixture
def on(settings: Any, port: int) -> Callable[[], bool]:
    settings.TASKCENTER = {
        **settings.TASKCENTER,
        "BILLING_URL": f"http://127.0.0.1:{port}/entries",
        "BILLING_SECRET": "books",
        "CALLBACK_SECRETS": {"books": SECRET},
    }
    assert billing.sync()
    return billing.sync


def _entry_keys() -> list[str]:
    return [f"entry:{r[0]}" for r in postgres.query("SELECT id FROM credit_entry ORDER BY id")]


def _noted() -> int:
    return int(postgres.query("SELECT count(*) FROM billing_outbox")[0][0])


def _some_business() -> None:
    """A grant, two charges, a refund."""
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    submit("debug:noop", user_id=7, credits=30)
    submit("debug:noop", user_id=7, credits=10)
    hand = Hand()
    hand.settle(hand.claim(1), dead)


@pytest.mark.req("C-05")
def test_without_a_billing_url_nothing_is_noted() -> None:
    assert billing.sync() is False
    _some_business()
    assert _noted() == 0


@pytest.mark.req("C-05")
def test_an_entry_is_noted_with_its_own_transaction(on: object) -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    with pytest.raises(RuntimeError), transaction.atomic():
        credits.grant(user_id=7, amount=100, reason="test", actor="test")
        raise RuntimeError
    assert _noted() == 1
    assert billing.deliver() == 1
    assert (_noted(), billing.deliver()) == (0, 0)


@pytest.mark.req("C-05")
def test_every_kind_of_entry_arrives_signed_with_its_key(
    on: object, books: Books, port: int, pump: Pump
) -> None:
    _some_business()
    credits.adjust(user_id=7, amount=-5, reason="by hand", actor="test")
    with StubServer(books, port=port):
        assert billing.deliver() == 5
        pump.drained()
    assert sorted(books.keys()) == sorted(_entry_keys())
    bodies = {r.headers["idempotency-key"]: json.loads(r.body) for r in books.requests}
    told = [bodies[key] for key in _entry_keys()]
    assert [(b["kind"], b["amount"]) for b in told] == [
        ("grant", 100),
        ("charge", -30),
        ("charge", -10),
        ("refund", 30),
        ("adjustment", -5),
    ]
    assert {b["user_id"] for b in told} == {7}
    assert told[1]["task_id"] == told[3]["task_id"]
    for request in books.requests:
        stamp = float(request.headers["webhook-timestamp"])
        verify_standard(SECRET, request.headers, request.body, stamp)


@pytest.mark.req("C-05")
def test_a_receiver_that_is_down_for_ten_minutes_gets_every_entry_afterwards(
    on: object, books: Books, port: int, pump: Pump
) -> None:
    _some_business()
    billing.deliver()
    slept_s = 0.0
    while slept_s < 600:
        while pump.step():
            pass
        [(left_s, dead_count)] = postgres.query(
            "SELECT max(extract(epoch FROM run_at - clock_timestamp()))::float8,"
            " count(*) FILTER (WHERE t.state = 5) FROM task t JOIN task_info i USING (id)"
            " WHERE i.type = 'billing:deliver'"
        )
        assert dead_count == 0
        slept_s += left_s
        _pass(left_s)
    books.refuse = 404
    with StubServer(books, port=port):
        while len(books.requests) < 4:
            pump.step()
        _pass(400)
        books.refuse = None
        pump.drained()
    assert Counter(books.keys()) == dict.fromkeys(_entry_keys(), 2)


def _pass(seconds: float) -> None:
    """Let time go by for all that waits."""
    postgres.query(
        "UPDATE task SET run_at = run_at - %s * interval '1 second' WHERE state IN (3, 4) RETURNING 1",
        [seconds + 0.01],
    )


@pytest.mark.req("C-05", "B-01")
def test_a_full_queue_leaves_entries_noted_for_later(on: object) -> None:
    _some_business()
    postgres.query("UPDATE queue SET level = 2 WHERE name = 'low' RETURNING 1")
    catalog.forget()
    assert billing.deliver() == 0
    assert _noted() == 4
    postgres.query("UPDATE queue SET level = 0 WHERE name = 'low' RETURNING 1")
    catalog.forget()
    assert billing.deliver() == 4


@pytest.mark.req("C-05")
def test_delivering_is_a_duty_of_the_house() -> None:
    assert {"billing", "ledger"} <= set(duties.NAMES)
    assert contract().retry.cap_s == 300
