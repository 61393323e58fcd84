"""The house's own work inside a worker: whoever holds a duty's lease does it, not every worker."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from django.conf import settings

from jobs.contract.reader import contract
from jobs.domain.errors import RedisUnavailable, StaleEpoch
from jobs.operations import (
    aftermath,
    audit_chain,
    billing,
    duties,
    groups,
    hints,
    ledger,
    limits,
    plans,
    polls,
    quotas,
    refilling,
    removing,
    tending,
    tickets,
    workers,
)
from jobs.worker import db

log = structlog.get_logger("duties")

_LEASE_S = 6.0
_TAKE_S = 2.0
_FLOOR = timedelta(seconds=60)
_WHOLE_S = 10.0
_PRUNE_PASSES = 20
_REFILL_S = 0.5
_REFILL_SOON_S = 0.2
_LOOK_ON_S = 0.05


class Duty:
    """One thing done every `every_s` seconds while its lease is held."""

    def __init__(self, name: str, every_s: float, run: Callable[[], float | None]) -> None:
        self.name = name
        self.every_s = every_s
        self.run = run
        self.due_s = 0.0


class Leases:
    """The duties this process holds, renewed every 2 s; shared by the two threads below."""

    def __init__(self, holder: str, names: Sequence[str] = duties.NAMES) -> None:
        """Only `names` are taken: a lease on a duty that its holder does not do would leave it undone."""
        self._holder = holder
        self._names = names
        self._held: set[str] = set()
        self._take_at_s = 0.0
        self._until_s = 0.0
        self._lock = threading.Lock()

    def held(self) -> set[str]:
        with self._lock:
            now_s = time.monotonic()
            if now_s >= self._take_at_s:
                self._take_at_s = now_s + _TAKE_S
                self._held = duties.take(self._holder, self._names, lease_s=_LEASE_S)
                self._until_s = now_s + _LEASE_S
            return self._held if now_s < self._until_s else set()

    def release(self) -> None:
        with self._lock:
            self._held, self._take_at_s = set(), float("inf")
            duties.release(self._holder)


class Duties:
    """Runs its duties when they are due; a store that is away only delays them."""

    def __init__(self, leases: Leases, work: list[Duty]) -> None:
        self._leases = leases
        self._work = work
        self._said = False

    def step(self, at_most_s: float) -> float:
        """Do what is due; returns for how long to sleep then."""
        try:
            held = self._leases.held()
            for duty in self._work:
                if duty.name in held and time.monotonic() >= duty.due_s:
                    self._do(duty)
            self._said = False
        except db.DOWN as error:
            if not self._said:
                log.warning("duties wait for the database", error=str(error).strip())
            self._said = True
            db.reset()
            return 0.5
        next_s = min((d.due_s for d in self._work if d.name in held), default=float("inf"))
        return max(0.0, min(at_most_s, next_s - time.monotonic()))

    def _do(self, duty: Duty) -> None:
        duty.due_s = time.monotonic() + duty.every_s
        try:
            sooner_s = duty.run()
            if sooner_s is not None:
                duty.due_s = min(duty.due_s, time.monotonic() + sooner_s)
        except StaleEpoch:
            tickets.forget()
        except RedisUnavailable:
            duty.due_s = time.monotonic() + max(1.0, duty.every_s)
        except db.DOWN:
            raise
        except Exception:
            log.exception("duty failed", duty=duty.name)
            db.reset()


class Dispatch:
    """Due rows to tickets, a floor under the index entries that an old snapshot keeps, a whole pass every 10 s."""

    def __init__(self) -> None:
        self._floor = duties.EPOCH_ZERO
        self._whole_at_s = 0.0

    def __call__(self) -> float:
        now_s, oldest = time.monotonic(), None
        floor = self._floor
        if now_s >= self._whole_at_s:
            self._whole_at_s, floor = now_s + _WHOLE_S, duties.EPOCH_ZERO
        wait_s = duties.next_due_s(floor)
        if wait_s > 0:
            return wait_s
        for _ in range(20):
            count, seen = duties.dispatch(floor)
            oldest = _earlier(oldest, seen)
            if count < duties.DISPATCH_BATCH:
                break
        if oldest is not None:
            self._floor = oldest - _FLOOR
        # A due row that somebody holds must not make it spin.
        return max(0.05, duties.next_due_s(self._floor))


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((x for x in (one, other) if x is not None), default=None)


def quick(leases: Leases) -> Duties:
    """What delays tasks when it is late."""
    work = [
        Duty("dispatch", 0.25, Dispatch()),
        Duty("dispatch", 5.0, _hand_over),
        Duty("limits", 1.0, _Lines()),
    ]
    if settings.ASYNQ_POLLING_ENABLED:
        work += [Duty("refill", _REFILL_S, _refill), Duty("refill", 1.0, _Tend())]
    return Duties(leases, work)


def slow(leases: Leases, punctual_s: Callable[[], float]) -> Duties:
    """What may take its time. `punctual_s`: for how long this process has been on time (rule 7)."""
    work = [
        Duty("rescue", contract().leases.sweep_s, _rescue(punctual_s)),
        Duty("fold", 1.0, _plain(duties.fold)),
        Duty("groups", 0.5, _plain(groups.collect)),
        Duty("aftermath", 0.5, _plain(aftermath.advance)),
        Duty("deadlines", 1.0, _plain(duties.sweep_deadlines)),
        Duty("deadlines", 5.0, _plain(duties.sweep_archived)),
        Duty("deadlines", 5.0, _plain(removing.take_back)),
        Duty("prune", 10.0, _prune),
        Duty("billing", 1.0, _bill),
        Duty("ledger", 60.0, _plain(ledger.Reconciler().step)),
        Duty("audit", 1.0, _link),
        Duty("plans", 5.0, _plain(plans.tend)),
    ]
    if settings.ASYNQ_POLLING_ENABLED:
        work.append(Duty("look", contract().leases.look_s, _Look()))
    return Duties(leases, work)


class _Lines:
    """Whoever may go goes: what a crash or a locked row left behind, and what a rate lets go."""

    def __init__(self) -> None:
        self._after = 0

    def __call__(self) -> float:
        self._after, wait_s = limits.tend(self._after)
        return wait_s


class _Look:
    """A ticket is lost when two looks, 10 s apart, miss it."""

    def __init__(self) -> None:
        self._looking = refilling.Looking()
        self._counting = quotas.Counting()

    def __call__(self) -> float | None:
        if not self._looking.step():
            return _LOOK_ON_S
        self._counting.review()
        return None


class _Tend:
    """Rings and tenants' limits, once a second."""

    def __init__(self) -> None:
        self._counting = quotas.Counting()

    def __call__(self) -> None:
        tending.tend()
        self._counting.step()


def _rescue(punctual_s: Callable[[], float]) -> Callable[[], None]:
    def run() -> None:
        lease_s = contract().leases.lease_s
        if punctual_s() >= lease_s:
            workers.bury_silent(lease_s)
        workers.rescue()

    return run


def _hand_over() -> float | None:
    """Again soon after a full batch: all workers step over these until then."""
    return _LOOK_ON_S if polls.hand_over() == polls.NOBODY_BATCH else None


def _bill() -> float | None:
    """Again at once after a full batch."""
    return 0.0 if billing.sync() and billing.deliver() == billing.BATCH else None


def _link() -> float | None:
    """Again at once after a full batch."""
    return 0.0 if audit_chain.link() == audit_chain.BATCH else None


def _prune() -> None:
    hints.prune()
    for _ in range(_PRUNE_PASSES):
        if duties.prune() < duties.PRUNE_BATCH:
            return


def _refill() -> float | None:
    """Again soon while there is something to refill."""
    return _REFILL_SOON_S if refilling.refill() else None


def _plain(function: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        function()

    return run
