"""Each lane: runs to the end, time-outs, cancellations, outcomes, crashes of children."""

from pathlib import Path

import pytest

from jobs.operations import actions
from jobs.operations.tasks import submit
from tests.e2e.worker_support import (
    ACTIVE,
    ARCHIVED,
    COMPLETED,
    column,
    errors,
    fresh_views,
    gone,
    reaches,
    results,
    sleep,
    worker,
)
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]


@pytest.mark.req("X-02", "X-03", "X-06", "AF12")
def test_every_lane_runs_to_the_end_and_enforces_sub_second_timeouts(processes: Processes) -> None:
    worker(processes)
    good = [sleep(0.05, lane) for lane in ("async", "thread", "process")]
    late = [sleep(30, lane, timeout=0.3, max_retries=0) for lane in ("async", "thread", "process")]
    for task in good:
        reaches(task, COMPLETED)
    for task in late:
        reaches(task, ARCHIVED)
        error = errors(task)[-1]
        assert error.startswith("TimedOut")
        assert "timeout" in error
        assert "0.3 s" in error
        took_s = column(
            task,
            "(SELECT extract(epoch FROM ended_at - started_at) FROM task_run WHERE task_id = task.id)",
        )
        assert float(took_s) < 15  # of 30 s that it would sleep


@pytest.mark.req("X-03")
def test_a_deadline_ends_a_run_for_good_and_says_so(processes: Processes) -> None:
    from datetime import UTC, datetime, timedelta

    worker(processes)
    due = datetime.now(UTC) + timedelta(seconds=0.8)
    tasks = [sleep(30, lane, deadline=due) for lane in ("async", "thread")]
    for task in tasks:
        reaches(task, ARCHIVED)
        assert "deadline" in errors(task)[-1]


@pytest.mark.req("X-04", "AC57")
def test_a_soft_cancel_reaches_async_thread_and_child_within_a_second(processes: Processes) -> None:
    worker(processes)
    tasks = [sleep(60, lane) for lane in ("async", "thread", "process")]
    for task in tasks:
        reaches(task, ACTIVE)
    eventually(lambda: all(column(t, "started_at") for t in tasks))
    for task in tasks:
        assert actions.cancel(task, actor="test").requested
    for task in tasks:
        reaches(task, COMPLETED, 5)
        assert column(task, "status") == 9


@pytest.mark.req("X-04")
def test_a_forced_cancel_kills_the_child_with_its_grandchildren_and_nobody_else(
    processes: Processes, tmp_path: Path
) -> None:
    worker(processes)
    neighbour = sleep(3, "process")
    file = tmp_path / "pid"
    task = submit("test:isolated", {"file": str(file), "seconds": 60}).id
    pid = int(eventually(lambda: file.exists() and file.read_text()))
    actions.cancel(task, actor="test", force=True)
    reaches(task, COMPLETED, 1)
    eventually(lambda: gone(pid), 7)
    reaches(neighbour, COMPLETED)
    assert column(neighbour, "runs") == 1


@pytest.mark.req("X-04")
def test_a_thread_that_does_not_answer_is_abandoned_and_reported(processes: Processes) -> None:
    process = worker(processes, "--concurrency", "1")
    task = submit("test:stubborn", {"seconds": 3}, timeout=0.3, max_retries=0).id
    after = sleep(0, "thread")
    reaches(task, ARCHIVED, 5)
    process.wait_for("thread abandoned")
    reaches(after, COMPLETED, 2)  # its slot was free again at once
    process.wait_for("abandoned thread came back")


@pytest.mark.req("X-05")
def test_a_handler_that_blocks_the_loop_is_named_and_interrupted_at_its_timeout(
    processes: Processes,
) -> None:
    process = worker(processes)
    task = submit("test:block", {"seconds": 60}, timeout=2, max_retries=0).id
    line = process.wait_for("handler blocks the event loop")
    assert "test:block" in line
    reaches(task, ARCHIVED, 10)
    other = sleep(0)
    reaches(other, COMPLETED, 5)


@pytest.mark.req("X-06")
def test_a_handler_speaks_through_its_outcome(processes: Processes) -> None:
    worker(processes)
    tasks = {
        how: submit("test:outcome", {"how": how}).id for how in ("skip", "discard", "retry", "poll")
    }
    reaches(tasks["skip"], ARCHIVED)
    reaches(tasks["discard"], COMPLETED)
    assert column(tasks["discard"], "status") == 9
    for how in ("retry", "poll"):
        reaches(tasks[how], COMPLETED)
        assert results(tasks[how]) == [{"attempt": 2}]
        assert column(tasks[how], "retried") == 0


@pytest.mark.req("X-06")
def test_progress_is_written_while_the_task_runs(processes: Processes) -> None:
    worker(processes)
    task = submit("test:progress", {"seconds": 20}).id
    eventually(lambda: column(task, "progress") == 42, 6)
    assert column(task, "state") == ACTIVE


@pytest.mark.req("X-05", "M-04", "AC58")
def test_log_lines_inside_a_run_carry_its_ids_and_middleware_surrounds_it(
    processes: Processes,
) -> None:
    env = {"TASKCENTER_MIDDLEWARE": "tests.e2e.worker_tasks.shout", "TASKCENTER_LOG_FORMAT": "json"}
    process = worker(processes, env=env)
    task = submit("test:outcome", {"how": "well"})
    reaches(task, COMPLETED)
    assert "test:outcome" in process.wait_for("middleware before")
    line = process.wait_for("bound to the run")
    assert task.task_id in line
    assert '"attempt": 1' in line
    assert '"queue": "default"' in line
    assert task.task_id in process.wait_for("[Asynq] Task completed")


@pytest.mark.req("X-09", "AC28")
@pytest.mark.parametrize("times", [1, 99])
def test_a_task_that_kills_its_child_is_tried_again_and_convicted_at_the_third_crash(
    processes: Processes, times: int
) -> None:
    from jobs.store import postgres

    process = worker(processes)
    task = submit("debug:crash", {"times": times}, process_in=3600).id  # out of the worker's reach
    postgres.query(
        "UPDATE task SET lane = 2, crashes = 1, run_at = clock_timestamp() WHERE id = %s RETURNING 1",
        [task],
    )
    reaches(task, COMPLETED if times == 1 else ARCHIVED, 25)
    assert process.alive
    assert column(task, "crashes") == (2 if times == 1 else 3)
    if times == 99:
        assert errors(task)[-1].startswith("Poison")
