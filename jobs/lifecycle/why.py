"""Why a task isn't running, from facts alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jobs.domain.states import State, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldingBreaker:
    """One that is not CLOSED, by its name in full. `forced`: by whom, why, until when (None: until released)."""

    name: str
    state: str = "OPEN"
    since: datetime | None = None
    wait_s: float = 0.0
    forced: bool = False
    until: datetime | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predecessor:
    """A task that this one waits for, by its public id."""

    task_id: str
    state: State
    status: Status


@dataclass(frozen=True, kw_only=True, slots=True)
class WhyFacts:
    """What is known of a task and its surroundings; None = does not apply or is not known.

    `ahead`: pending tasks before it; `starts_per_s`: how fast its queue starts tasks. `breakers`:
    those that hold it up, `limit_key` of a limit in whose line it stands: `limit_running`
    of `limit_most` places are taken, `limit_rate` may start. `waits_for`: shards, or earlier tasks of its
    chain, that are not done; `after`: some of the latter, archived ones first. `ambiguous`: parked, for a submit
    left and its answer never came.
    """

    state: State
    status: Status
    queue: str
    type: str
    now_s: float
    stopped: bool = False
    consumption_off: bool = False
    paused: bool = False
    paused_reason: str = ""
    run_at_s: float | None = None
    deadline_s: float | None = None
    breakers: tuple[HoldingBreaker, ...] = ()
    live_workers: int | None = None
    free_slots: int | None = None
    handler_known: bool = True
    platform_disabled: str | None = None
    parked: bool = False
    ambiguous: bool = False
    limit_key: str | None = None
    limit_running: int | None = None
    limit_most: int | None = None
    limit_rate: str | None = None
    waits_for: int | None = None
    after: tuple[Predecessor, ...] = ()
    redis_connected: bool = True
    ahead: int | None = None
    starts_per_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """`message` is a translatable template for `params`; times among them are datetimes."""

    code: str
    message: str
    params: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.message % self.params


def why_not_running(facts: WhyFacts) -> list[Reason]:
    """The reasons, hardest first; one reason that says so when nothing is in its way."""
    at_rest = _at_rest(facts)
    if at_rest is not None:
        return [at_rest]
    reasons = [*_switches(facts), *_surroundings(facts), *_platform(facts), *_time(facts)]
    return reasons or [_position(facts)]


def gettext_noop(message: str) -> str:
    """Marks a text for translation; the page that shows it translates."""
    return message


_ = gettext_noop


def _at_rest(facts: WhyFacts) -> Reason | None:
    if facts.state is State.ACTIVE:
        return _reason("active", _("It is running."))
    if facts.state is State.COMPLETED:
        return _reason("ended", _("It has ended as %(status)s."), status=facts.status.wire)
    if facts.state is State.ARCHIVED:
        if facts.status is Status.FAILURE:
            return _reason("dead", _("It is a dead letter: run it to try again."))
        return _reason("archived", _("It was archived by hand: run it to go on."))
    return None


def _switches(facts: WhyFacts) -> Iterator[Reason]:
    if facts.stopped:
        yield _reason("stopped", _("The emergency stop is on."))
    if facts.consumption_off:
        yield _reason("off", _("Redis delivery and the fallback poller are both switched off."))
    if facts.paused:
        if facts.paused_reason:
            message = _("Queue %(queue)s is paused: %(reason)s")
            yield _reason("paused", message, queue=facts.queue, reason=facts.paused_reason)
        else:
            yield _reason("paused", _("Queue %(queue)s is paused."), queue=facts.queue)


def _surroundings(facts: WhyFacts) -> Iterator[Reason]:
    if facts.live_workers == 0:
        yield _reason("no_worker", _("No living worker serves queue %(queue)s."), queue=facts.queue)
    if not facts.handler_known:
        yield _reason("no_handler", _("No worker knows the type %(type)s."), type=facts.type)
    if facts.limit_key is not None:
        yield _limit(facts, facts.limit_key)
    elif facts.state is State.AGGREGATING:
        if facts.after:
            yield from _predecessors(facts.after, facts.waits_for or len(facts.after))
        elif facts.waits_for is None:
            yield _reason("waiting", _("It waits for its group, its shards or earlier tasks."))
        else:
            message = _("Other tasks that it waits for: %(count)s.")
            yield _reason("waiting", message, count=facts.waits_for)


def _predecessors(after: tuple[Predecessor, ...], count: int) -> Iterator[Reason]:
    """Those that go no further by themselves one by one, then how many others of `count` there are."""
    for task in after:
        if task.state is not State.ARCHIVED:
            continue
        if task.status is Status.FAILURE:
            message = _(
                "It waits for %(task)s, a dead letter: run it again, or delete it: then this one is cancelled."
            )
        else:
            message = _("It waits for %(task)s, archived by hand: run that one, or cancel it.")
        yield _reason("waiting", message, task=task.task_id)
    others = count - sum(task.state is State.ARCHIVED for task in after)
    if others > 0:
        yield _reason("waiting", _("Other tasks that it waits for: %(count)s."), count=others)


def _limit(facts: WhyFacts, key: str) -> Reason:
    running, most = facts.limit_running or 0, facts.limit_most
    if most is not None and running >= most:
        message = _("It waits for a free place of %(key)s: %(running)s of %(most)s are taken.")
        return _reason("limit", message, key=key, running=running, most=most)
    if facts.limit_rate is not None:
        message = _("It waits for its turn of %(key)s: at most %(rate)s start.")
        return _reason("limit", message, key=key, rate=facts.limit_rate)
    return _reason("limit", _("The limit of %(key)s is reached."), key=key)


def _platform(facts: WhyFacts) -> Iterator[Reason]:
    if facts.platform_disabled is not None:
        message = _("Platform %(name)s is disabled.")
        yield _reason("platform_disabled", message, name=facts.platform_disabled)
    yield from map(_breaker, facts.breakers)
    if facts.ambiguous:
        message = _(
            "Its submit left and its answer never came: it is never sent again. It is parked until its time limit,"
            " %(at)s; a late answer may still tell its id, and an operator may end it."
        )
        at = None if facts.run_at_s is None else datetime.fromtimestamp(facts.run_at_s, UTC)
        yield _reason("ambiguous", message, at=at)
    elif facts.parked:
        yield _reason(
            "parked", _("It is parked until its time limit: the platform does not answer.")
        )


def _breaker(b: HoldingBreaker) -> Reason:
    """Since when; forced: by whom, why and until when, else when it is tried again."""
    said: dict[str, object] = {"name": b.name, "since": b.since}
    if not b.forced:
        message = _(
            "Circuit breaker %(name)s is %(state)s since %(since)s; next probe in %(seconds)s s."
        )
        return _reason("breaker", message, state=b.state, seconds=max(round(b.wait_s), 0), **said)
    said |= {"by": b.by or "?", "reason": b.reason or "–"}
    if b.until is None:
        message = _(
            "Circuit breaker %(name)s is held open by %(by)s since %(since)s, until it is released: %(reason)s"
        )
        return _reason("breaker_forced", message, **said)
    message = _(
        "Circuit breaker %(name)s is held open by %(by)s since %(since)s, until %(until)s: %(reason)s"
    )
    return _reason("breaker_forced", message, until=b.until, **said)


def _time(facts: WhyFacts) -> Iterator[Reason]:
    if facts.deadline_s is not None and facts.deadline_s <= facts.now_s:
        yield _reason("deadline", _("Its deadline has passed; it is about to be ended."))
    if facts.state not in (State.SCHEDULED, State.RETRY) or facts.run_at_s is None:
        return
    wait_s = round(facts.run_at_s - facts.now_s)
    if wait_s <= 0:
        yield _reason("due", _("It is due; a dispatcher takes it up in a moment."))
    elif facts.ambiguous:  # no next try
        return
    elif facts.state is State.RETRY:
        yield _reason("retry", _("It waits %(seconds)s s for its next try."), seconds=wait_s)
    else:
        yield _reason("delayed", _("It is set for %(seconds)s s from now."), seconds=wait_s)


def _position(facts: WhyFacts) -> Reason:
    if not facts.redis_connected:
        return _reason("fallback", _("Redis is away: the fallback poller brings it to a worker."))
    if facts.ahead:
        if facts.starts_per_s:
            message = _("Tasks before it: %(ahead)s, about %(seconds)s s.")
            return _reason(
                "queued",
                message,
                ahead=facts.ahead,
                seconds=round(facts.ahead / facts.starts_per_s),
            )
        return _reason("queued", _("Tasks before it: %(ahead)s."), ahead=facts.ahead)
    if facts.free_slots == 0:
        return _reason("busy", _("It is next; all workers are busy."))
    return _reason("next", _("Nothing is in its way: it starts in a moment."))


def _reason(code: str, message: str, **params: object) -> Reason:
    return Reason(code=code, message=message, params=params)
