"""One ticket from claim to settle for a stock RQ worker that picked it up: slow, but not wrong."""

import os
import socket
import threading

import structlog

from jobs.contract.reader import contract
from jobs.domain.outcomes import Outcome
from jobs.operations import runs, workers
from jobs.store import catalog
from jobs.worker import db, execution, hooks
from jobs.worker.records import Active, Why
from jobs.worker.solo import Solo

log = structlog.get_logger("worker")

_LOCKED_S = 8.0


def run(task_id: str) -> str:
    """Claim, run and settle one task; returns how it ended as a word, `not claimed` when nobody may run it."""
    worker_id = workers.register(
        f"rq-ticket-{socket.gethostname()}-{os.getpid()}", {"concurrency": 1}
    )
    try:
        claimed = runs.claim(worker_id, [task_id])
        if not claimed:
            return "not claimed"
        rec = Active(claimed[0], catalog.queues().name(claimed[0].queue_id), worker_id)
        outcome = execution.equip(rec)
        if outcome is None:
            outcome = _watched(rec, Solo(rec))
        if runs.settle(worker_id, [outcome], wait_s=_LOCKED_S).accepted:
            hooks.call(rec, outcome)
        return outcome.kind.name.lower()
    finally:
        workers.retire(worker_id)


def _watched(rec: Active, solo: Solo) -> Outcome:
    """Run it while another thread keeps the lease and the time."""
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(rec, solo, over), daemon=True)
    keeper.start()
    try:
        return solo.outcome()
    finally:
        over.set()
        keeper.join(2.0)


def _keep(rec: Active, solo: Solo, over: threading.Event) -> None:
    run = rec.run
    limits = [x for x in (run.left_s, run.timeout_ms and run.timeout_ms / 1000) if x is not None]
    left_s = min(limits, default=float("inf"))
    while not over.wait(min(contract().leases.beat_s, max(left_s, 0.01))):
        left_s -= min(contract().leases.beat_s, max(left_s, 0.01))
        try:
            beat = workers.beat(rec.worker_id, {"running": 1})
        except db.DOWN:
            db.reset()
            continue
        if left_s <= 0:
            solo.cancel(Why.TIMEOUT)
        elif beat is None or run.id in beat.cancel:
            solo.cancel()
    db.reset()
