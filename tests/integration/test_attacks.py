"""What an attacker found, and one bad row or outcome that must not harm its neighbours."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction

from jobs.domain.errors import UnknownType
from jobs.domain.outcomes import Outcome
from jobs.domain.states import State
from jobs.handlers.registry import handler, names, public_handler
from jobs.operations import actions, credits, duties, emptying, giving_up, workers
from jobs.operations.runs import Run
from jobs.operations.tasks import submit
from jobs.selectors import queues
from jobs.store import postgres
from jobs.worker.records import Active
from jobs.worker.settler import Settler
from tests.support import api
from tests.support.api import data, error
from tests.support.engine import Hand, balance, dead, entries, failed, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def settler(hand: Hand, claimed: list[Run], outcomes: list[Outcome]) -> Settler:
    """A settler that holds these outcomes."""
    it = Settler(lambda _items: None, acknowledge=False)
    records = [Active(run, "default", hand.id) for run in claimed]
    it.put(list(zip(records, outcomes, strict=True)))
    return it


def drain(it: Settler) -> None:
    while it.waiting():
        it.step(0.0)


@pytest.mark.req("P-03", "X-07")
def test_an_outcome_that_cannot_be_written_at_all_sinks_no_other() -> None:
    tasks = [submit("debug:noop") for _ in range(6)]
    hand = Hand()
    claimed = hand.claim()
    bad = claimed[2]
    broken: Any = (
        object()
    )  # facts that no code can read: neither a database's error nor a wrong value
    outcomes = [
        replace(succeeded(run), platform=broken) if run is bad else succeeded(run)
        for run in claimed
    ]
    drain(settler(hand, claimed, outcomes))
    assert row(bad.id, "state") == 5
    assert all(row(task.id, "state") == 6 for task in tasks if str(task.id) != bad.id)
    [(said,)] = postgres.query("SELECT error FROM task_run WHERE task_id = %s", [bad.id])
    assert said == "OutcomeRefused: this run's outcome could not be stored: AttributeError"


@pytest.fixture
def too_slow(engine: None) -> Iterator[None]:
    """The database gives up on every outcome that says `slow`, as it does after the statement timeout."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION test_too_slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'canceling statement' USING ERRCODE = '57014'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER test_too_slow BEFORE INSERT ON task_run FOR EACH ROW"
            " WHEN (NEW.error = 'slow') EXECUTE FUNCTION test_too_slow()"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION test_too_slow CASCADE")


@pytest.mark.usefixtures("too_slow")
@pytest.mark.req("P-03", "P-05")
def test_an_outcome_that_always_takes_too_long_is_dead_lettered_alone() -> None:
    slow, other = submit("debug:noop"), submit("debug:noop")
    hand = Hand()
    claimed = hand.claim()
    outcomes = [
        replace(dead(run), error="slow") if run.id == str(slow.id) else succeeded(run)
        for run in claimed
    ]
    it = settler(hand, claimed, outcomes)
    it.step(0.0)
    assert row(other.id, "state") == 6
    assert (row(slow.id, "state"), it.waiting()) == (2, 1)
    drain(it)
    assert row(slow.id, "state") == 5


def broken_callback(task_id: object) -> None:
    """No code can build this task's callback, so no end of it can be stored as a whole."""
    postgres.query(
        """UPDATE task_info SET options = options || '{"headers": {"a": 5}}' WHERE id = %s RETURNING 1""",
        [task_id],
    )


@pytest.mark.req("P-03", "X-07", "C-02")
def test_a_run_whose_end_can_never_be_stored_fails_with_what_could_be_done() -> None:
    credits.grant(user_id=7, amount=10, reason="r", actor="t")
    bad = submit(
        "debug:noop",
        callback_url="https://shop.example/",
        unique_for=60,
        user_id=7,
        credits=4,
    )
    other = submit("debug:noop", {"n": 1})
    broken_callback(bad.id)
    hand = Hand()
    claimed = hand.claim()
    drain(settler(hand, claimed, [succeeded(run) for run in claimed]))
    assert row(other.id, "state") == 6
    assert row(bad.id, "state", "status", "worker_id") == (5, 5, None)
    [(said,)] = postgres.query("SELECT error FROM task_run WHERE task_id = %s", [bad.id])
    assert said.startswith("OutcomeRefused: this run's outcome could not be stored")
    assert (balance(7), entries(bad.id)) == (10, [(2, -4), (3, 4)])
    assert not postgres.query("SELECT 1 FROM unique_lock")
    [(detail,)] = postgres.query("SELECT detail::text FROM event WHERE kind = 'given_up'")
    assert detail == '{"left_undone": ["callback"]}'
    duties.fold()
    assert queues.get("dead_letter").archived == 1  # type: ignore[union-attr]
    assert queues.get("default").active == 0  # type: ignore[union-attr]


@pytest.mark.req("P-03", "X-07")
def test_a_run_that_was_taken_over_is_not_given_up() -> None:
    made = submit("debug:noop")
    hand = Hand()
    [run] = hand.claim()
    assert giving_up.give_up(hand.id, run.id, run.token + 1, "x") is False
    assert giving_up.give_up(hand.id + 1, run.id, run.token, "x") is False
    assert row(made.id, "state") == 2
    actions.cancel(made.id, actor="test")
    assert giving_up.give_up(hand.id, run.id, run.token, "x") is True
    assert row(made.id, "state", "status") == (6, 9)


@pytest.mark.req("X-09")
def test_orphans_that_cannot_be_ended_do_not_hide_those_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_ORPHAN_PAGE", 2)
    bad = [submit("debug:noop", callback_url="https://shop.example/") for _ in range(5)]
    good = submit("debug:noop")
    hand = Hand()
    assert len(hand.claim()) == 6
    for task in (*bad, good):
        actions.cancel(task.id, actor="test")
        broken_callback(task.id)
    workers.retire(hand.id)
    assert workers.rescue() == 1
    assert row(good.id, "state") == 6


@pytest.mark.req("X-09")
def test_an_orphan_that_cannot_be_ended_blocks_no_other() -> None:
    bad = submit("debug:noop", callback_url="https://shop.example/")
    good = submit("debug:noop")
    hand = Hand()
    assert len(hand.claim()) == 2
    for task in (bad, good):
        actions.cancel(task.id, actor="test")
    postgres.query(
        """UPDATE task_info SET options = options || '{"headers": {"a": 5}}' WHERE id = %s RETURNING 1""",
        [bad.id],
    )
    workers.retire(hand.id)
    assert workers.rescue() == 1
    assert (row(bad.id, "state"), row(good.id, "state")) == (2, 6)


@pytest.mark.req("T-02", "S-09")
@pytest.mark.parametrize("name", ["platform:cancel", "plan:step", "billing:deliver"])
def test_the_houses_own_types_are_unknown_to_callers(name: str) -> None:
    assert name in names()
    assert handler(name).internal
    with pytest.raises(UnknownType):
        public_handler(name)
    caller = api.client("admin")
    assert error(caller.post("/tasks", {"type": name}), 422)["code"] == "unknown_type"
    assert error(caller.post("/enqueue", {"type": name}), 422)["code"] == "unknown_type"
    tick = {"name": "s", "cron": "* * * * *", "type": name}
    assert error(caller.post("/schedules", tick), 422)["code"] == "unknown_type"
    batch = data(caller.post("/tasks/batch", {"tasks": [{"type": name}, {"type": "debug:noop"}]}))
    assert (batch["accepted"], batch["results"][0]["error"]["code"]) == (1, "unknown_type")
    made = data(caller.post("/schedules", {**tick, "type": "debug:noop"}), 201)
    error(caller.patch(f"/schedules/{made['id']}", {"type": name}), 422)


@pytest.mark.req("T-02", "S-09")
def test_cleaning_and_reports_need_scope_operate_besides_submit() -> None:
    asked = [
        {"type": "cleanup:expired"},
        {"type": "report:generate", "payload": {"name": "credits_by_account"}},
    ]
    for body in asked:
        assert error(api.client("submit").post("/tasks", body), 403)["code"] == "forbidden"
        data(api.client("submit", "operate").post("/tasks", body), 201)
    batch = data(api.client("submit").post("/tasks/batch", {"tasks": asked}))
    assert [r["error"]["code"] for r in batch["results"]] == ["forbidden", "forbidden"]
    mail = {"user_id": 1, "to": "a@b.example", "subject": "hi"}
    assert handler("email:deliver").scope == "submit"
    assert api.client("submit").post("/tasks", {"type": "email:deliver", "payload": mail})


@pytest.mark.req("T-05")
def test_a_platforms_credential_does_not_follow_it_to_another_address() -> None:
    new = {"name": "p", "protocol": "replicate", "base_url": "https://one.example"}
    caller = api.client("operate", "read")
    data(caller.post("/platforms", {**new, "credential": "r8_first"}), 201)
    moved = {"base_url": "https://two.example"}
    assert error(caller.patch("/platforms/p", moved), 422)["details"] == {"field": "credential"}
    data(caller.patch("/platforms/p", {"base_url": new["base_url"]}))
    data(caller.patch("/platforms/p", {**moved, "credential": "r8_second"}))
    assert data(caller.get("/platforms/p"))["base_url"] == moved["base_url"]


@pytest.mark.req("T-05")
def test_where_private_addresses_are_allowed_only_an_admin_chooses_another() -> None:
    new = {"name": "p", "protocol": "replicate", "base_url": "http://10.0.0.5"}
    admin = api.client("admin")
    data(admin.post("/platforms", {**new, "credential": "r8", "allow_private": True}), 201)
    moved = {"base_url": "http://169.254.169.254", "credential": "r8"}
    refused = error(api.client("operate", "read").patch("/platforms/p", moved), 403)
    assert refused["code"] == "forbidden"
    data(api.client("operate", "read").patch("/platforms/p", {"time_limit": 60}))
    data(admin.patch("/platforms/p", moved))


@pytest.mark.req("S-04", "S-07", "S23")
def test_a_batch_fans_out_into_so_many_shards_in_all() -> None:
    caller = api.client("submit")
    many = {"type": "debug:noop", "shards": [0] * 6_000}
    hidden = {"type": "debug:fanout", "payload": {"shards": 6_000}}
    plain = {"type": "debug:noop"}
    done = data(caller.post("/tasks/batch", {"tasks": [many, hidden, plain, many, plain]}))
    codes = [r.get("error", {}).get("code") for r in done["results"]]
    assert codes == [None, "too_large", None, "too_large", None]
    assert postgres.query("SELECT count(*) FROM task") == [(6_003,)]


def plan(sql: str, params: dict[str, Any] | list[Any]) -> str:
    """How the planner would do it if it had to avoid walking tables."""
    with transaction.atomic(), connection.cursor() as cursor:
        for name in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {name} = off")
        cursor.execute("EXPLAIN " + sql, params)
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.req("Q-08")
@pytest.mark.parametrize(
    ("state", "index"),
    [(1, "task_pending"), (3, "task_held"), (4, "task_held"), (5, "task_archived")],
)
def test_emptying_reads_each_state_by_its_own_index(state: int, index: str) -> None:
    order = emptying._IN_ORDER[State(state)]
    found = plan(f"SELECT id FROM task WHERE queue_id = %s AND {order} LIMIT 200", [1])
    assert f"using {index} " in found
    assert "Sort" not in found


@pytest.mark.req("P-01")
@pytest.mark.parametrize(
    ("statement", "params", "index"),
    [
        ("task_overdue", {}, "task_deadline"),
        ("worker_bury", {"lease_s": 9}, "worker_living"),
        ("worker_prune", {"kept_s": 9, "limit": 9}, "worker_dead"),
        (
            "idempotency_prune",
            {"kept_s": 9, "limit": 9, "after": duties.EPOCH_ZERO, "after_key": ""},
            "idempotency_age",
        ),
    ],
)
def test_sweeps_read_by_index(statement: str, params: dict[str, Any], index: str) -> None:
    found = plan(postgres.statement(statement), params)
    assert f"using {index} " in found


@pytest.mark.req("P-01")
def test_old_locks_are_found_by_their_time() -> None:
    sql = "SELECT key FROM unique_lock WHERE until < (SELECT now()) ORDER BY until LIMIT 500"
    assert "using lock_until " in plan(sql, [])


@pytest.mark.req("S-06")
def test_old_keys_of_living_tasks_do_not_hide_those_that_can_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duties, "PRUNE_BATCH", 5)
    monkeypatch.setattr(duties, "_IDEMPOTENCY_BATCHES", 2)
    living = submit("debug:noop")
    postgres.query(
        "INSERT INTO idempotency (key, body_hash, task_id, created_at)"
        " SELECT 'old' || n, '', CASE WHEN n < 23 THEN %s::uuid END, now() - interval '4 days'"
        " FROM generate_series(10, 25) n RETURNING 1",
        [living.id],
    )
    left = "SELECT count(*) FROM idempotency"
    duties.prune()  # looks at ten
    assert postgres.query(left) == [(16,)]
    duties.prune()
    assert postgres.query(left) == [(13,)]
    assert duties._looked_to == (duties.EPOCH_ZERO, "")


@pytest.mark.req("P-01")
def test_workers_dead_for_a_day_are_forgotten_unless_something_still_runs_under_them() -> None:
    submit("debug:noop")
    busy, idle, fresh = Hand("busy"), Hand("idle"), Hand("fresh")
    assert len(busy.claim()) == 1
    postgres.query(
        "UPDATE worker SET dead_at = now() - interval '25 hours' WHERE id IN (%s, %s) RETURNING 1",
        [busy.id, idle.id],
    )
    workers.retire(fresh.id)
    duties.prune()
    assert postgres.query("SELECT name FROM worker ORDER BY id") == [("busy",), ("fresh",)]


@pytest.mark.req("C-02", "P-03")
@pytest.mark.parametrize("given_up", [False, True])
def test_a_run_whose_end_cannot_be_stored_gets_back_only_what_its_platform_did_not_bill(
    given_up: bool,
) -> None:
    credits.grant(user_id=7, amount=10, reason="r", actor="t")
    made = submit("debug:noop", callback_url="https://shop.example/", user_id=7, credits=4)
    if given_up:
        broken_callback(made.id)
    hand = Hand()
    claimed = hand.claim()
    broken: Any = object()
    drain(settler(hand, claimed, [replace(failed(claimed[0]), platform=broken, refund=1)]))
    assert row(made.id, "state", "status") == (5, 5)
    assert (balance(7), entries(made.id)) == (7, [(2, -4), (3, 1)])


@pytest.mark.req("C-02", "P-03")
def test_a_run_that_is_given_up_after_its_platform_billed_it_all_gets_nothing_back() -> None:
    credits.grant(user_id=7, amount=10, reason="r", actor="t")
    made = submit("debug:noop", callback_url="https://shop.example/", user_id=7, credits=4)
    broken_callback(made.id)
    hand = Hand()
    claimed = hand.claim()
    drain(settler(hand, claimed, [replace(failed(claimed[0]), refund=0)]))
    assert (balance(7), entries(made.id)) == (6, [(2, -4)])
