"""`make mutants`: break one guard at a time in a copy of the tree and show that a named test fails without it.

    python -m tests.faults.mutants [word…]     only mutants whose name contains one of the words

Exit status 1: a mutant survived, or its text is no longer in the file.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".data", "__pycache__", ".*_cache", ".hypothesis", "node_modules"
)
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `file`, `old` (which stands there once) becomes `new`; then `test` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


_KILLED = "tests/faults/test_workers_killed.py::"
_REDIS = "tests/faults/test_redis_lost.py::"
_POSTGRES = "tests/faults/test_postgres_lost.py::"
_EPOCH = _REDIS + "test_every_script_refuses_another_epoch_than_that_of_redis"
_RACES = "tests/faults/test_races.py::"
_LIMITS = "tests/faults/test_limits_raced.py::"
_CROWDED = "tests/faults/test_postgres_crowded.py::"
_BREAK = "tests/faults/test_handlers_break.py::"
_MACHINE = "tests/faults/test_money_machine.py::test_no_order_of_steps_makes_the_books_wrong"

MUTANTS = (
    Mutant(
        "fencing removed from settle",
        "jobs/store/sql/task_settle.sql",
        "FROM j WHERE was = 2 AND worker_id = %(worker)s AND held = token ORDER BY id",
        "FROM j WHERE was = 2 ORDER BY id",
        _KILLED + "test_workers_frozen_beyond_their_lease_write_nothing_when_they_thaw",
    ),
    Mutant(
        "rescuer removed",
        "jobs/worker/duties.py",
        "        workers.rescue()\n",
        "",
        _KILLED + "test_random_kills_lose_double_and_refund_nothing_wrongly",
    ),
    Mutant(
        "status guard removed from claim",
        "jobs/store/sql/task_claim.sql",
        "WHERE t.id = ANY(%(ids)s::uuid[]) AND t.state + 0 = 1",
        "WHERE t.id = ANY(%(ids)s::uuid[]) AND t.state < 6",
        _REDIS + "test_tickets_pushed_twenty_times_run_each_task_once",
    ),
    Mutant(
        "unique index on refunds dropped",
        "jobs/migrations/0001_initial.py",
        "models.UniqueConstraint(condition=models.Q(('kind', 3)), fields=('task_id', 'cycle'),"
        " name='entry_one_refund'), ",
        "",
        _RACES
        + "test_threads_that_cancel_fail_and_time_out_the_same_tasks_refund_each_of_them_once",
    ),
    Mutant(
        "places of a limit counted without its lock",
        "jobs/operations/limits.py",
        "f\" ORDER BY id FOR NO KEY UPDATE {'' if wait else 'SKIP LOCKED'}\"",
        '" ORDER BY id"',
        _LIMITS + "test_sixteen_threads_that_let_tasks_go_let_no_more_go_than_there_are_places",
    ),
    Mutant(
        "a freed place is not passed on",
        "jobs/operations/endings.py",
        "    limits.admit_soon(row.limit_id for row in rows if _gave_up_place(row))\n",
        "",
        _LIMITS
        + "test_submits_ends_retries_and_cancels_at_once_keep_the_limit_and_leave_nobody_behind",
    ),
    Mutant(
        "hand-back at a stop removed",
        "jobs/worker/stopping.py",
        "handing_back.records(engine, left, unstarted=False)",
        "None",
        _KILLED + "test_rolling_restarts_lose_and_refund_nothing_and_hardly_repeat",
    ),
    Mutant(
        "epoch not checked at a push",
        "jobs/store/lua/push.lua",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end\n",
        "",
        _EPOCH,
    ),
    Mutant(
        "epoch not checked at a fetch",
        "jobs/store/lua/fetch.lua",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end\n",
        "",
        _EPOCH,
    ),
    Mutant(
        "look for lost tickets removed",
        "jobs/operations/refilling.py",
        "            self._suspects = self._found\n",
        "",
        _REDIS + "test_tasks_whose_submitter_dies_between_commit_and_push_are_picked_up",
    ),
    Mutant(
        "self-audit removed",
        "jobs/worker/heartbeat.py",
        "                self._audit_rows()\n                self._audit_tickets()\n",
        "",
        _POSTGRES + "test_replies_of_both_stores_lost_after_execution_leave_nothing_behind",
    ),
    Mutant(
        "idempotency key not stored",
        "jobs/operations/inserts.py",
        "    items = take_idempotency_keys(items, batch)\n",
        "",
        _RACES
        + "test_threads_with_the_same_keys_in_shuffled_batches_make_one_charged_task_per_key",
    ),
    Mutant(
        "a submit to a platform not noted before it leaves",
        "jobs/operations/gates.py",
        "UPDATE platform_task SET submit_started_at = clock_timestamp()",
        "UPDATE platform_task SET submit_started_at = NULL",
        "tests/faults/test_platforms_lie.py::"
        "test_where_a_platform_cannot_be_asked_the_task_waits_as_unknown_and_is_refunded_once",
    ),
    Mutant(
        "back-pressure removed",
        "jobs/operations/preparing.py",
        "if row.level >= 2 and limited:",
        "if row.level >= 9 and limited:",
        "tests/faults/test_flood.py::"
        "test_a_flood_is_refused_with_a_time_to_come_back_and_harms_no_other_queue",
    ),
    Mutant(
        "a redriven task not charged again",
        "jobs/operations/actions.py",
        "    if refunded and row.account_id is not None:\n",
        "    if False and row.account_id is not None:\n",
        _MACHINE,
    ),
    Mutant(
        "a run's late write not fenced",
        "jobs/store/sql/task_settle.sql",
        "FROM j WHERE was = 2 AND worker_id = %(worker)s AND held = token ORDER BY id",
        "FROM j WHERE was < 6 ORDER BY id",
        _MACHINE,
    ),
    Mutant(
        "no room for a slow platform",
        "jobs/builtin/platform_room.py",
        "        if now_s - self._moved_s >= PATIENCE_S:\n            return False\n",
        "        if now_s - self._moved_s >= PATIENCE_S:\n            pass\n",
        "tests/unit/test_platform_room.py::"
        "test_where_nothing_comes_back_all_wait_no_longer_than_the_first_of_them",
    ),
    Mutant(
        "a full lane's free slot not told",
        "jobs/worker/engine.py",
        "        self.slots.on_free = self.feeder.freed\n",
        "",
        "tests/e2e/test_worker_tuning.py::"
        "test_isolated_tasks_follow_each_other_at_once_while_other_slots_are_free",
    ),
    Mutant(
        "due times by the submitter's clock",
        "jobs/operations/inserts.py",
        "        at=request.process_at,",
        "        at=request.process_at if request.process_in is None else __import__('datetime').datetime."
        "fromtimestamp(__import__('time').time() + request.process_in, __import__('datetime').UTC),",
        "tests/faults/test_clocks.py::test_workers_ten_minutes_ahead_and_behind_start_nothing_early"
        "_and_take_nothing_from_each_other",
    ),
    Mutant(
        "a full disk taken for the fault of a row",
        "jobs/worker/settler.py",
        "    if isinstance(error, _ROWS_FAULT) or ",
        '    if _sqlstate(error) == "53100" or isinstance(error, _ROWS_FAULT) or ',
        "tests/faults/test_stores_full.py::"
        "test_a_full_disk_refuses_submits_whole_and_everything_goes_on_when_there_is_space",
    ),
    Mutant(
        "a fetch refused by a full Redis",
        "jobs/store/lua/fetch.lua",
        "#!lua flags=allow-oom\n",
        "#!lua\n",
        "tests/faults/test_stores_full.py::"
        "test_a_full_redis_defers_submits_while_workers_drain_it_and_takes_all_when_it_has_room",
    ),
    Mutant(
        "crashes among others convict",
        "jobs/contract/contract.toml",
        "solo_at = 2\ndead_at = 3\nmost_at = 6\n",
        "solo_at = 3\ndead_at = 3\nmost_at = 3\n",
        _BREAK + "test_one_task_that_kills_its_worker_among_two_hundred_is_the_only_one_convicted",
    ),
    Mutant(
        "a child's death without an end",
        "jobs/worker/execution.py",
        "if poison.after_crash(crashes, seen_alone=True) is poison.Verdict.DEAD:",
        "if False:",
        _BREAK
        + "test_children_that_crash_hang_and_eat_memory_end_in_the_dead_letters_and_harm_nobody",
    ),
    Mutant(
        "a blocked loop left alone",
        "jobs/worker/watchdog.py",
        "            if now_s > rec.expires_s:",
        "            if False:",
        _BREAK + "test_an_async_handler_that_blocks_the_loop_is_named_and_five_hundred_others_end",
    ),
    Mutant(
        "abandoned threads not counted",
        "jobs/worker/engine.py",
        "if self.lanes.threads.abandoned > budget and not self.stopping:",
        "if False:",
        _BREAK + "test_threads_that_never_end_are_bounded_by_a_restart_and_nobody_is_lost",
    ),
    Mutant(
        "a database without connections is an error of ours",
        "queues_admin/api/errors.py",
        "isinstance(raised, OperationalError | InterfaceError)",
        "isinstance(raised, InterfaceError)",
        _CROWDED
        + "test_without_a_free_connection_submits_are_refused_whole_and_all_recover_by_themselves",
    ),
    Mutant(
        "the dispatcher's floor removed",
        "jobs/worker/duties.py",
        "wait_s = duties.next_due_s(floor)",
        "wait_s = duties.next_due_s()",
        _CROWDED
        + "test_under_a_long_transaction_a_dispatcher_reads_the_dead_rows_once_in_ten_seconds",
    ),
    Mutant(
        "a settle does not go around locked rows",
        "jobs/operations/runs.py",
        'held = {row[0] for row in postgres.fetch("task_held", {"ids": ids, "money": money})}',
        "held = set()",
        _CROWDED + "test_a_locked_account_holds_up_its_own_task_and_no_other_of_its_batch",
    ),
)


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    survivors = 0
    for mutant in chosen:
        started_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="taskcenter-mutant-") as folder:
            verdict = _try(mutant, Path(folder) / "tree")
        survivors += verdict != "killed"
        print(f"{verdict:10} {time.monotonic() - started_s:5.0f} s  {mutant.name}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    return 1 if survivors else 0


def _try(mutant: Mutant, tree: Path) -> str:
    """`killed`, `survived`, or what went wrong."""
    shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        return "not there"
    path.write_text(text.replace(mutant.old, mutant.new))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test],
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode == 0:
        return "survived"
    # A test that fails, not one that cannot even start.
    return "killed" if re.search(r"\b1 failed\b", done.stdout) else "broken"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
