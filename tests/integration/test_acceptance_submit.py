"""Acceptance cases of submitting and fetching that no other test covers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from jobs.domain.errors import (
    Conflict,
    DuplicateTask,
    IllegalTransition,
    Invalid,
    TaskIdInUse,
    TaskNotFound,
    UnknownQueue,
    UnknownType,
)
from jobs.operations import duties, groups, payloads, queues, runs, tickets
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit, submit_many
from jobs.store import keys, postgres, redis
from tests.support.engine import Hand, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")

DAY = timedelta(days=1)


def _fetch(hand: Hand, *names: str, want: int = 1) -> list[str]:
    lists = [keys.tickets(name) for name in names]
    found = redis.fetch(hand.id, lists, want=want, epoch=tickets.epoch(), was_idle=False)
    return [id_ for batch in found for id_ in batch.ids]


@pytest.mark.req("AC01", "S-02")
def test_without_options_a_task_is_in_default_with_three_retries_half_an_hour_and_no_deadline() -> (
    None
):
    made = submit("debug:noop")
    assert made.queue == "default"
    assert row(made.id, "state", "max_retries", "timeout_ms", "deadline") == (1, 3, 1_800_000, None)


@pytest.mark.req("AC02", "X-03")
def test_a_deadline_alone_adds_no_timeout_and_both_are_kept_when_both_are_given() -> None:
    at = datetime.now(UTC) + DAY
    alone, both = submit("debug:noop", deadline=at), submit("debug:noop", deadline=at, timeout=5)
    assert row(alone.id, "timeout_ms", "deadline") == (None, at)
    assert row(both.id, "timeout_ms", "deadline") == (5000, at)


@pytest.mark.req("AC05", "S-02")
@pytest.mark.parametrize(
    ("type_", "options", "error"),
    [
        ("", {}, UnknownType),
        ("  ", {}, UnknownType),
        ("debug:noop", {"queue": ""}, UnknownQueue),
        ("debug:noop", {"queue": " "}, UnknownQueue),
        ("debug:noop", {"task_id": ""}, Invalid),
        ("debug:noop", {"task_id": " "}, Invalid),
        ("debug:noop", {"unique_for": 0.5}, Invalid),
        ("debug:noop", {"unique_for": 0}, Invalid),
    ],
)
def test_a_blank_type_queue_or_id_and_too_short_a_window_store_nothing(
    type_: str, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        submit(type_, **options)
    assert postgres.query("SELECT (SELECT count(*) FROM task), (SELECT count(*) FROM unique_lock)")[
        0
    ] == (0, 0)


@pytest.mark.req("AC06", "S-02")
@pytest.mark.parametrize("unique", [{}, {"unique_for": 60}])
@pytest.mark.parametrize("how", ["pending", "scheduled", "group"])
def test_an_id_in_use_is_refused_wherever_its_task_is(how: str, unique: dict[str, Any]) -> None:
    known: dict[str, dict[str, Any]] = {"scheduled": {"process_in": 60}, "group": {"group": "g"}}
    options = known.get(how, {})
    submit("debug:collect", {"n": 1}, task_id="mine", **options, **unique)
    with pytest.raises(TaskIdInUse):
        submit("debug:collect", {"n": 2}, task_id="mine", **options, **unique)
    assert submit("debug:collect", {"n": 2}, **unique).task_id  # the refused one left no lock


@pytest.mark.req("AC07", "S-05")
@pytest.mark.parametrize(
    ("options", "lock_s"),
    [({}, 100.0), ({"process_in": 50}, 150.0), ({"group": "g"}, 100.0)],
)
def test_a_unique_task_is_refused_again_while_it_waits_anywhere(
    options: dict[str, Any], lock_s: float
) -> None:
    submit("debug:collect", {"n": 1}, unique_for=100, **options)
    with pytest.raises(DuplicateTask):
        submit("debug:collect", {"n": 1}, unique_for=100, **options)
    left = postgres.query(
        "SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM unique_lock"
    )
    assert lock_s - 10 < left[0][0] <= lock_s
    assert submit("debug:collect", {"n": 1}, unique_for=100, queue="low").task_id
    assert submit("debug:collect", {"n": 2}, unique_for=100).task_id


@pytest.mark.req("AC08", "S-02")
@pytest.mark.parametrize("how", ["at once", "scheduled", "grouped"])
def test_headers_arrive_with_the_run_and_are_the_tasks_own(how: str) -> None:
    headers = {"region": "eu"}
    known: dict[str, dict[str, Any]] = {"scheduled": {"process_in": 60}, "grouped": {"group": "g"}}
    options = known.get(how, {})
    submit("debug:collect", {}, headers=headers, **options)
    headers["region"] = "us"
    postgres.query("UPDATE task SET run_at = now() WHERE run_at IS NOT NULL RETURNING 1")
    duties.dispatch()
    if how == "grouped":
        _age_groups()
        groups.collect()
    [run] = Hand().claim()
    assert msgspec.json.decode(run.options_json)["headers"] == {"region": "eu"}


@pytest.mark.req("AC09", "AF11", "S-04")
def test_a_batch_may_mix_everything_and_each_wrong_item_fails_alone() -> None:
    results = submit_many(
        [
            TaskRequest(type="debug:noop"),
            TaskRequest(type=""),
            TaskRequest(type="debug:noop", process_in=60),
            TaskRequest(type="debug:collect", group="g"),
            TaskRequest(type="debug:noop", payload=1, unique_for=60),
            TaskRequest(type="debug:noop", payload=1, unique_for=60),
            TaskRequest(type="debug:noop", task_id="twice"),
            TaskRequest(type="debug:noop", task_id="twice"),
        ]
    )
    wrong = {r.index: type(r.error) for r in results if isinstance(r, Refused)}
    assert wrong == {1: UnknownType, 5: DuplicateTask, 7: TaskIdInUse}
    assert postgres.query("SELECT state, count(*) FROM task GROUP BY 1 ORDER BY 1") == [
        (1, 3),
        (3, 1),
        (7, 1),
    ]


@pytest.mark.req("AC10")
def test_a_queue_that_vanished_from_redis_is_registered_again_by_the_next_submit() -> None:
    submit("debug:noop")
    redis.client().delete("rq:queues", "rq:queue:default")
    again = submit("debug:noop")
    assert redis.client().smembers("rq:queues") == {"rq:queue:default"}
    assert redis.listed("rq:queue:default") == [str(again.id)]


@pytest.mark.req("AC11", "Q-02")
def test_the_first_queue_that_has_something_yields_its_oldest_task() -> None:
    first, second = (submit("debug:noop", queue="high") for _ in range(2))
    submit("debug:noop", queue="low")
    hand = Hand()
    found = _fetch(hand, "critical", "high", "low")
    assert found == [str(first.id)]
    assert len(runs.claim(hand.id, found)) == 1
    assert row(first.id, "state", "worker_id") == (2, hand.id)
    assert row(second.id, "state") == 1


@pytest.mark.req("AC12")
def test_a_fetch_from_empty_queues_finds_and_changes_nothing() -> None:
    hand = Hand()
    assert _fetch(hand, "critical", "default", "low", want=10) == []
    assert postgres.query("SELECT count(*) FROM task") == [(0,)]
    assert not redis.client().exists(keys.inflight(hand.id))


@pytest.mark.req("AC13", "Q-08")
def test_when_all_queues_are_paused_nothing_is_claimed() -> None:
    made = [submit("debug:noop", queue=name) for name in ("default", "low")]
    for name in ("default", "low"):
        queues.pause(name)
    hand = Hand()
    assert hand.claim() == []
    assert {row(m.id, "state") for m in made} == {1}


@pytest.mark.req("AC52", "S-11")
def test_a_scheduled_tasks_payload_changes_and_its_time_and_lock_stay() -> None:
    made = submit("debug:sleep", {"seconds": 1}, process_in=60, unique_for=60)
    before = row(made.id, "run_at", "state"), postgres.query("SELECT * FROM unique_lock")
    payloads.change(made.id, {"seconds": 2, "lane": "thread"}, actor="me")
    assert (row(made.id, "run_at", "state"), postgres.query("SELECT * FROM unique_lock")) == before
    assert row(made.id, "lane") == 1
    assert postgres.query("SELECT payload::text FROM task_info") == [
        ('{"lane": "thread", "seconds": 2}',)
    ]
    with pytest.raises(Invalid, match="seconds"):
        payloads.change(made.id, {"seconds": "long"}, actor="me")
    assert postgres.query("SELECT kind, actor FROM event") == [("payload", "me")]


@pytest.mark.req("AC52", "S-11")
def test_no_other_task_takes_a_new_payload() -> None:
    pending, member = submit("debug:noop"), submit("debug:collect", group="g")
    for made in (pending, member):
        with pytest.raises(IllegalTransition):
            payloads.change(made.id, {}, actor="me")
    hand = Hand()
    claimed = hand.claim()
    with pytest.raises(IllegalTransition):
        payloads.change(pending.id, {}, actor="me")
    hand.settle(claimed, succeeded)
    with pytest.raises(IllegalTransition):
        payloads.change(pending.id, {}, actor="me")
    later = submit("debug:noop", process_in=60)
    with pytest.raises(TaskNotFound):
        payloads.change(later.id, {}, actor="me", tenant_id=2)


@pytest.mark.req("AC53", "Q-08")
def test_a_paused_queue_is_not_paused_again_and_a_running_one_not_resumed() -> None:
    with pytest.raises(Conflict):
        queues.resume("low")
    queues.pause("low")
    with pytest.raises(Conflict):
        queues.pause("low")
    queues.resume("low")


def _age_groups() -> None:
    postgres.query("UPDATE task SET ord = ord - 3600000000 WHERE state = 7 RETURNING 1")
