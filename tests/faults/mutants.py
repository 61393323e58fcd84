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
        "jobs/operations/requests.py",
        "if row.level >= 2 and limited:",
        "if row.level >= 9 and limited:",
        "tests/faults/test_flood.py::"
        "test_a_flood_is_refused_with_a_time_to_come_back_and_harms_no_other_queue",
    ),
    Mutant(
        "a full lane's free slot not told",
        "jobs/worker/engine.py",
        "        self.slots.on_free = self.feeder.freed\n",
        "",
        "tests/e2e/test_worker_tuning.py::"
        "test_isolated_tasks_follow_each_other_at_once_while_other_slots_are_free",
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
