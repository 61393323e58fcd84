"""Acceptance cases of ends, leases, due times and groups that no other test covers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from jobs.domain.errors import IllegalTransition
from jobs.domain.outcomes import Kind
from jobs.operations import actions, duties, groups, runs, schedules, tickets, workers
from jobs.operations.requests import TaskRequest
from jobs.operations.runs import Run
from jobs.operations.tasks import submit, submit_many, submit_request
from jobs.store import postgres, redis
from tests.support.engine import Hand, dead, retried, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")

NOOP = TaskRequest(type="debug:noop")


def _counter(metric: int, queue: int = 3) -> int:
    """Folded now; 10 = processed, 11 = failed."""
    while duties.fold():
        pass
    rows = postgres.query(
        "SELECT n FROM queue_stat WHERE metric = %s AND queue_id = %s", [metric, queue]
    )
    return int(rows[0][0]) if rows else 0


def _run_all(make: Any) -> list[Run]:
    hand, done = Hand(), []
    while claimed := hand.claim(200):
        hand.settle(claimed, make)
        done += claimed
    return done


def _count(where: str, params: Sequence[Any] = ()) -> int:
    return int(postgres.query(f"SELECT count(*) FROM task WHERE {where}", params)[0][0])


def _expire(where: str) -> None:
    """Let retentions pass; an ended row takes no change, so its trigger has to look away."""
    for role in ("replica", "origin"):
        postgres.query("SELECT set_config('session_replication_role', %s, false)", [role])
        if role == "replica":
            postgres.query(f"UPDATE task SET expires_at = now() WHERE {where} RETURNING 1")


@pytest.mark.req("AC18", "Q-03")
def test_a_success_without_retention_leaves_neither_task_nor_lock_but_is_counted() -> None:
    submit("debug:noop", retention=0, unique_for=60)
    _run_all(succeeded)
    assert duties.prune() == 1
    for table in ("task", "task_info", "task_run", "unique_lock"):
        assert postgres.query(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert not redis.client().exists("rq:wip:default")
    assert _counter(10) == 1


@pytest.mark.req("AC19", "M-01")
def test_a_counter_at_its_largest_number_stays_there_and_harms_nothing() -> None:
    top = 2**63 - 1
    submit("debug:noop")
    _counter(10)
    postgres.query(
        "INSERT INTO queue_stat (queue_id, metric, n, as_of) VALUES (3, 10, %s, now()) RETURNING 1",
        [top],
    )
    _run_all(succeeded)
    assert _counter(10) == top
    assert _counter(6) == 1


@pytest.mark.req("AC20", "Q-03")
def test_a_success_is_kept_for_its_retention_with_its_result_and_without_its_lock() -> None:
    made = submit("debug:echo", {"n": 1}, retention=600, unique_for=60)

    _run_all(lambda run: dataclasses.replace(succeeded(run), result={"n": 1}))
    assert row(made.id, "expires_at - finished_at = interval '600 seconds'")
    assert postgres.query("SELECT result::text FROM task_run") == [('{"n": 1}',)]
    assert submit("debug:echo", {"n": 1}, unique_for=60).task_id
    assert duties.prune() == 0


@pytest.mark.req("AC21", "AC29", "Q-07")
def test_only_what_outlived_its_retention_goes_with_all_its_rows_in_more_than_one_batch() -> None:
    submit_many([NOOP] * 300 + [TaskRequest(type="debug:noop", queue="low")] * 300)
    _run_all(succeeded)
    kept = submit_many([NOOP] * 20 + [TaskRequest(type="debug:noop", queue="low")] * 20)
    _run_all(dead)
    _expire("state = 6 OR id IN (SELECT id FROM task WHERE state = 5 LIMIT 5)")
    gone = [duties.prune(), duties.prune(), duties.prune()]
    assert gone == [500, 105, 0]
    assert _count("true") == len(kept) - 5
    for table, column in (("task_info", "id"), ("task_run", "task_id")):
        orphans = postgres.query(
            f"SELECT count(*) FROM {table} x WHERE NOT EXISTS (SELECT 1 FROM task t WHERE t.id = x.{column})"
        )
        assert orphans == [(0,)], table


@pytest.mark.req("AC23", "R-01")
def test_a_failed_run_with_retries_left_is_due_later_counted_and_keeps_its_error() -> None:
    made = submit("debug:noop")
    _run_all(retried)
    assert row(made.id, "state", "retried") == (4, 1)
    assert 50 < row(made.id, "extract(epoch FROM run_at - clock_timestamp())::float8") <= 60
    assert postgres.query("SELECT error, ended_at IS NOT NULL FROM task_run") == [
        ("once more", True)
    ]
    assert (_counter(10), _counter(11)) == (1, 1)


@pytest.mark.req("AC27", "R-02")
def test_what_is_no_failure_moves_no_counter_and_keeps_its_message() -> None:
    made = submit("debug:noop")
    _run_all(lambda run: dataclasses.replace(retried(run), kind=Kind.POSTPONED, counts=False))
    assert row(made.id, "state", "retried") == (4, 0)
    assert (_counter(10), _counter(11)) == (0, 0)
    assert postgres.query("SELECT error FROM task_run") == [("once more",)]


@pytest.mark.req("AC30", "X-09")
def test_a_heartbeat_extends_the_lease_of_the_living_and_brings_nobody_back() -> None:
    living, lost = Hand("living"), Hand("lost")
    postgres.query("UPDATE worker SET beat_at = now() - interval '5 seconds' RETURNING 1")
    assert workers.beat(living.id, {}) is not None
    workers.retire(lost.id)
    assert workers.beat(lost.id, {}) is None
    assert workers.beat(10**9, {}) is None
    ages = postgres.query(
        "SELECT name, beat_at > now() - interval '4 seconds' FROM worker ORDER BY name"
    )
    assert ages == [("living", True), ("lost", False)]


@pytest.mark.req("AC31", "AF02", "X-09")
def test_only_tasks_whose_lease_expired_are_taken_back() -> None:
    made = [submit("debug:noop") for _ in range(4)]
    silent, living = Hand("silent"), Hand("living")
    runs.claim(silent.id, [str(m.id) for m in made[:2]])
    runs.claim(living.id, [str(m.id) for m in made[2:]])
    postgres.query(
        "UPDATE worker SET beat_at = now() - interval '10 seconds' WHERE id = %s RETURNING 1",
        [silent.id],
    )
    assert workers.bury_silent(9) == [silent.id]
    assert workers.rescue() == 2
    assert [row(m.id, "state") for m in made] == [1, 1, 2, 2]
    errors = postgres.query("SELECT DISTINCT left(error, 10) FROM task_run")
    assert errors == [("WorkerLost",)]


@pytest.mark.req("AC37", "X-11")
def test_everything_that_is_due_becomes_pending_in_all_queues_and_nothing_else_does() -> None:
    names = ("default", "low")
    submit_many([TaskRequest(type="debug:noop", queue=n) for n in names for _ in range(60)])
    _run_all(retried)
    submit_many(
        [TaskRequest(type="debug:noop", queue=n, process_in=60) for n in names for _ in range(100)]
    )
    later = submit("debug:noop", process_in=3600)
    postgres.query("UPDATE task SET run_at = now() WHERE id <> %s RETURNING 1", [later.id])
    while duties.dispatch()[0]:
        pass
    assert _count("state = 1") == 320
    assert row(later.id, "state") == 3
    assert [len(redis.listed(f"rq:queue:{name}")) for name in names] == [160, 160]


@pytest.mark.req("AC40", "D-06")
def test_of_a_schedules_ticks_the_last_thousand_are_kept() -> None:
    made = schedules.create(name="often", cron="@every 1s", type="debug:noop")
    postgres.query(
        "INSERT INTO schedule_tick (schedule_id, tick_at, outcome)"
        " SELECT %s, now() - n * interval '1 hour', 'submitted' FROM generate_series(1100, 1, -1) n RETURNING 1",
        [made.pk],
    )
    postgres.query("UPDATE schedule SET next_at = now() RETURNING 1")
    schedules.tick()
    [(count, oldest)] = postgres.query(
        "SELECT count(*), (extract(epoch FROM now() - min(tick_at)) / 3600)::int FROM schedule_tick"
    )
    assert (count, oldest) == (1000, 999)


@pytest.mark.req("AC41", "S-10")
@pytest.mark.parametrize(
    ("oldest_s", "newest_s", "made"), [(0, 0, 0), (2, 2, 1), (6, 0, 1), (3, 0.5, 0)]
)
def test_a_group_is_collected_after_its_grace_or_its_longest_delay(
    oldest_s: float, newest_s: float, made: int
) -> None:
    for age_s in (oldest_s, newest_s):
        member = submit("debug:collect", group="g")
        postgres.query(
            "UPDATE task SET ord = ord - %s WHERE id = %s RETURNING 1",
            [int(age_s * 1e6), member.id],
        )
    assert groups.collect() == made
    assert _count("state = 7 AND flags & 16 > 0") == (0 if made else 2)


@pytest.mark.req("AC43", "S-10")
def test_nothing_is_made_of_no_group_and_an_emptied_one() -> None:
    assert groups.collect() == 0
    member = submit("debug:collect", group="g")
    actions.delete(member.id, actor="test")
    assert groups.collect() == 0
    assert _count("true") == 0


@pytest.mark.req("AC44", "AC45", "AF04", "S-10")
def test_a_collection_that_breaks_off_leaves_its_members_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(3):
        submit("debug:collect", {"n": n}, group="g")
    postgres.query("UPDATE task SET ord = ord - 3600000000 RETURNING 1")

    def breaks(*args: Any, **more: Any) -> Any:
        submit_request(*args, **more)
        raise RuntimeError("the process is gone")

    monkeypatch.setattr("jobs.operations.groups.submit_request", breaks)
    with pytest.raises(RuntimeError):
        groups.collect()
    assert (_count("true"), _count("state = 7 AND flags & 16 > 0")) == (3, 3)
    monkeypatch.undo()
    assert groups.collect() == 1
    [run] = Hand().claim()
    assert len(msgspec.json.decode(run.payload_json)["members"]) == 3


@pytest.mark.req("AF09", "X-04")
def test_a_running_task_that_is_cancelled_and_gives_up_never_runs_again() -> None:
    made = submit("debug:noop")
    hand = Hand()
    claimed = hand.claim()
    assert actions.cancel(made.id, actor="test").requested
    hand.settle(claimed, dead)
    assert row(made.id, "state", "status", "runs") == (6, 9, 1)
    assert Hand("other").claim() == []
    with pytest.raises(IllegalTransition):
        actions.run_now(made.id, actor="test")


@pytest.mark.req("AC22", "X-07")
def test_a_late_ack_takes_no_ticket_from_another_worker() -> None:
    made = submit("debug:noop")
    first, second = Hand("first"), Hand("second")
    claimed = first.claim()
    runs.hand_back(first.id, [(r.id, r.token) for r in claimed], unstarted=False, epoch=0)
    tickets.push(tickets.tickets_of([(str(made.id), 3, 0)]))
    assert second.fetch() == [str(made.id)]
    redis.ack(first.id, [str(made.id)])
    assert redis.held([second.id]) == {second.id: {str(made.id)}}
