"""`manage.py queues` and `manage.py workers` on real stores (D-05)."""

import json
import signal
import time

import pytest
from django.core.management.base import CommandError
from pytest_django import Settings

from jobs.models import AuditEntry
from jobs.operations import credits, duties, workers
from jobs.operations.tasks import submit
from jobs.selectors import queues
from jobs.store import catalog, postgres
from taskcenter.devstack.testing import Servers
from tests.support import engine as books
from tests.support.cli import audit, run, run_json
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.req("D-05")
def test_stats_are_those_of_the_api_and_lists_show_the_settings() -> None:
    submit("debug:noop", {}, queue="high")
    told = run_json("queues", "stats")
    assert told["high"]["pending"] == told["high"]["size"] == 1
    assert set(told["high"]) == set(queues.QueueStats.__struct_fields__)
    listed = {queue["queue"]: queue for queue in run_json("queues", "list")["items"]}
    assert {name: queue["weight"] for name, queue in listed.items()} == {
        **{"critical": 10, "high": 6, "default": 4},
        **{"scheduled": 3, "low": 1, "dead_letter": 1},
    }
    for verb in ("stats", "list"):
        assert "dead_letter" in run("queues", verb)


@pytest.mark.req("D-05", "Q-08", "T-06")
def test_pause_resume_and_configure_change_the_queue_and_are_audited() -> None:
    told = run_json("queues", "pause", "low", "high", "--reason", "maintenance")
    assert told["done"] == 2
    assert {q.queue for q in queues.listing() if q.paused} == {"low", "high"}
    assert "PAUSED" in run("queues", "stats")
    with pytest.raises(CommandError, match="already paused"):
        run("queues", "pause", "low")
    run("queues", "resume", "low", "high")
    told = run_json("queues", "configure", "low", "--weight", "7", "--capacity", "123")
    assert (told["weight"], told["capacity"]) == (7, 123)
    assert audit() == [
        *(("queue.pause", name, False) for name in ("low", "high")),
        *(("queue.resume", name, False) for name in ("low", "high")),
        ("queue.configure", "low", False),
    ]
    entry = AuditEntry.objects.get(action="queue.configure")
    assert entry.before == {"weight": 1, "capacity": 100_000, "concurrency": None}
    assert entry.after == {"weight": 7, "capacity": 123, "concurrency": None}


@pytest.mark.req("D-05", "Q-08")
def test_emptying_refunds_deletes_and_needs_consent() -> None:
    credits.grant(user_id=7, amount=100, reason="x", actor="test")
    tasks = [submit("debug:noop", {}, queue="low", user_id=7, credits=10) for _ in range(3)]
    submit("debug:noop", {}, queue="high")
    with pytest.raises(CommandError, match=r"3 tasks of low.*Add --yes"):
        run("queues", "empty", "low")
    told = run_json("queues", "empty", "low", "--yes", "--reason", "broken batch")
    assert told["results"] == [
        {"queue": "low", "ok": True, "deleted": 3, "refunded_credits": 30, "remaining": False}
    ]
    assert [books.row(task.id, "state") for task in tasks] == [None, None, None]
    assert books.balance(7) == 100
    assert queues.total("high", "pending") == 1
    assert audit() == [("queue.empty", "low", False)]


@pytest.mark.req("D-05", "B-03")
def test_the_emergency_stop_is_a_verb() -> None:
    assert run_json("queues", "stop", "--yes", "--reason", "fire") == {"stopped": True}
    assert postgres.query("SELECT stopped, stopped_reason FROM control") == [(True, "fire")]
    run("queues", "start")
    assert postgres.query("SELECT stopped FROM control") == [(False,)]
    assert [entry[0] for entry in audit()] == ["emergency.stop", "emergency.resume"]


@pytest.mark.req("D-05", "A-06")
def test_while_read_only_no_queue_and_no_worker_changes(settings: Settings) -> None:
    settings.ASYNQ_READONLY = True
    workers.register("one", {"concurrency": 1})
    for argv in (
        ["queues", "pause", "low"],
        ["queues", "resume", "low"],
        ["queues", "configure", "low", "--weight", "2"],
        ["queues", "empty", "low", "--yes"],
        ["queues", "stop", "--yes"],
        ["queues", "start"],
        ["workers", "quiet", "one"],
        ["workers", "stop", "one", "--yes"],
        ["workers", "wake", "one"],
    ):
        with pytest.raises(CommandError, match="ASYNQ_READONLY"):
            run(*argv)
    assert not any(queue.paused for queue in queues.listing())
    assert all(refused for _, _, refused in audit())
    run("queues", "stats")


@pytest.mark.req("D-05", "M-04")
def test_people_read_no_log_lines_unless_they_ask_for_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    run("queues", "pause", "low")
    run("tasks", "submit", "debug:noop")
    assert caplog.records == []
    run("tasks", "--verbosity", "2", "submit", "debug:noop")
    assert "Task enqueued" in caplog.text


@pytest.mark.req("D-05")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["queues", "pause", "nowhere"], "no such queue"),
        (["queues", "empty", "nowhere", "--yes"], "no such queue"),
        (["queues", "configure", "low"], "Nothing to change"),
        (["queues", "configure", "low", "--weight", "0"], "weight"),
        (["queues", "stats", "--watch", "0"], "between 0.1 and 3600"),
        (["workers", "stop", "nobody", "--yes"], "no such living worker"),
        (["workers", "quiet"], "--all"),
        (["workers", "quiet", "--all"], "No worker is alive"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(argv: list[str], says: str) -> None:
    with pytest.raises(CommandError) as failed:
        run(*argv)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.req("D-05")
def test_workers_are_listed_and_told() -> None:
    first = workers.register("alpha", {"concurrency": 4, "queues": ["low"], "running": 2})
    workers.register("beta", {"concurrency": 1})
    [alpha, beta] = run_json("workers", "list")["items"]
    assert (alpha["name"], alpha["concurrency"], alpha["running"]) == ("alpha", 4, 2)
    assert "alpha" in run("workers", "list")
    assert run_json("workers", "quiet", "alpha", str(beta["id"]))["done"] == 2
    assert {w["state"] for w in run_json("workers", "list")["items"]} == {"quiet"}
    run("workers", "wake", "alpha")
    run("workers", "stop", "--all", "--yes")
    assert {w["state"] for w in run_json("workers", "list")["items"]} == {"stopping"}
    assert audit() == [
        ("worker.quiet", f"alpha #{first}", False),
        ("worker.quiet", f"beta #{beta['id']}", False),
        ("worker.wake", f"alpha #{first}", False),
        ("worker.stop", f"alpha #{first}", False),
        ("worker.stop", f"beta #{beta['id']}", False),
    ]


@pytest.mark.req("D-05")
def test_watching_repeats_follows_the_queues_and_ends_well_on_ctrl_c(
    processes: Processes,
) -> None:
    watch = processes.manage("queues", "stats", "--watch", "0.2", "--json")
    watch.wait_for('"critical"')
    catalog.forget()
    submit("debug:noop", {}, queue="high")

    def pending() -> int:
        lines = [line for line in watch.output.splitlines() if line.startswith("{")]
        return int(json.loads(lines[-1])["high"]["pending"])

    eventually(lambda: pending() == 1)
    watch.signal(signal.SIGINT)
    assert watch.wait() == 0
    assert "Traceback" not in watch.output


@pytest.mark.req("D-05")
def test_a_command_says_in_one_line_that_the_database_is_away(
    processes: Processes, servers: Servers
) -> None:
    started_s = time.monotonic()
    away = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    failed = processes.manage("queues", "stats", env=away)
    assert failed.wait() == 1
    assert time.monotonic() - started_s < 15
    [line] = failed.output.strip().splitlines()
    assert line.startswith("CommandError: PostgreSQL: ")


@pytest.mark.req("AC55", "D-05")
def test_a_queues_history_has_a_line_for_each_day_newest_first() -> None:
    submit("debug:noop")
    hand = books.Hand()
    hand.settle(hand.claim(), books.dead)
    duties.fold()
    days = run_json("queues", "history", "default", "--days", "3")["items"]
    assert [(d["processed"], d["failed"]) for d in days] == [(1, 1), (0, 0), (0, 0)]
    assert days[0]["day"] > days[1]["day"] > days[2]["day"]
    assert days[2]["day"] in run("queues", "history", "default", "--days", "3")
    for wrong in ("0", "-1", "91"):
        with pytest.raises(CommandError):
            run("queues", "history", "default", "--days", wrong)
    with pytest.raises(CommandError):
        run("queues", "history", "nowhere")
