"""The one decision of how a run ends."""

from dataclasses import dataclass, field
from typing import TypeAlias

from jobs.domain.outcomes import Discard, Kind, Outcome, Poll, Retry, SkipRetry, TimedOut
from jobs.domain.states import OPEN_STATUSES, State, Status
from jobs.lifecycle import texts
from jobs.lifecycle.policy import RetryPolicy, bounded_s

_CHAIN = 20
_SIGNALS = (SkipRetry, Discard, Poll, Retry)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What is known of the run; `status` is the task's meanwhile, `retried` counts failures before."""

    task_id: str
    token: int
    retried: int
    max_retries: int
    crashes: int = 0
    charged: bool = False
    status: Status = Status.IN_PROGRESS
    duration_s: float = 0.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The handler returned."""

    result: object = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Raised:
    """The handler raised; `traceback` is text for the operator."""

    error: BaseException
    traceback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedOutAfter:
    """The run was stopped after `after_s`: by its timeout, or for good by the task's deadline."""

    after_s: float
    deadline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Somebody cancelled the run and it stopped."""

    reason: str = ""


Ending: TypeAlias = Returned | Raised | TimedOutAfter | Stopped


def decide(run: RunFacts, ending: Ending, *, jitter: float = 0.0) -> Outcome:
    """How this run is to be settled; `jitter` in [0, 1) spreads the back-off."""
    match ending:
        case Returned(result=result):
            return _returned(run, result)
        case Raised(error=error, traceback=traceback):
            return _raised(run, error, traceback, jitter)
        case TimedOutAfter(after_s=after_s, deadline=True):
            text = (
                f"TimedOut: the task's deadline passed, the run was stopped after {after_s:.6g} s"
            )
            return _dead(run, text, "deadline passed")
        case TimedOutAfter(after_s=after_s):
            timeout = TimedOut(f"the run was stopped by its timeout after {after_s:.6g} s")
            return _failed(run, timeout, texts.error_text(timeout), jitter)
        case Stopped(reason=reason):
            return _cancelled(run, reason or "cancelled")


def outcome(run: RunFacts, kind: Kind, state: State, status: Status, **more: object) -> Outcome:
    """An Outcome that carries the run's own facts."""
    return Outcome(
        task_id=run.task_id,
        token=run.token,
        kind=kind,
        state=state,
        status=status,
        duration_s=run.duration_s,
        charged=run.charged,
        **more,  # type: ignore[arg-type]
    )


def _returned(run: RunFacts, result: object) -> Outcome:
    problem = texts.result_problem(result)
    if problem is not None:
        return _dead(run, texts.bounded(f"ResultRefused: {problem}"), problem)
    return outcome(run, Kind.SUCCEEDED, State.COMPLETED, Status.SUCCESS, result=result)


def _raised(run: RunFacts, error: BaseException, traceback: str, jitter: float) -> Outcome:
    signal = _signal(error)
    match signal:
        case SkipRetry():
            return _dead(run, texts.error_text(error, traceback), "SkipRetry")
        case Discard():
            return _cancelled(run, str(signal) or "discarded by the handler")
        case Poll():
            return _polled(run, signal)
        case Retry(counts=False):
            text = texts.error_text(error)
            return _again(run, signal, text, jitter, counts=False, after_s=signal.after_s)
        case Retry():
            return _failed(run, signal, texts.error_text(error), jitter, after_s=signal.after_s)
    return _failed(run, error, texts.error_text(error, traceback), jitter)


def _failed(
    run: RunFacts, error: BaseException, text: str, jitter: float, after_s: float | None = None
) -> Outcome:
    asked = isinstance(error, Retry)
    if not asked and not run.policy.fails(error):
        return _again(run, error, text, jitter, counts=False)
    if not asked and not run.policy.retries(error):
        return _dead(run, text, "not retried for this error")
    if run.retried >= run.max_retries:
        return _dead(run, text, "retries used up")
    return _again(run, error, text, jitter, counts=True, after_s=after_s)


def _again(
    run: RunFacts,
    error: BaseException,
    text: str,
    jitter: float,
    *,
    counts: bool,
    after_s: float | None = None,
) -> Outcome:
    """Back to `retry`, status unchanged. What does not count is POSTPONED: no failure counter moves."""
    delay_s = bounded_s(after_s, run.policy.delay_s(run.retried, error, jitter=jitter))
    kind = Kind.RETRIED if counts else Kind.POSTPONED
    return outcome(run, kind, State.RETRY, run.status, delay_s=delay_s, counts=counts, error=text)


def _dead(run: RunFacts, text: str, reason: str) -> Outcome:
    more = {"error": text, "fail_reason": reason, "to_dead_letter": True}
    return outcome(run, Kind.DEAD, State.ARCHIVED, Status.FAILURE, **more)


def _cancelled(run: RunFacts, reason: str) -> Outcome:
    reason = texts.bounded(reason)
    return outcome(run, Kind.CANCELLED, State.COMPLETED, Status.CANCELLED, fail_reason=reason)


def _polled(run: RunFacts, poll: Poll) -> Outcome:
    """A handler that polls by itself; a status that is an end ends the task."""
    if poll.status in OPEN_STATUSES:
        return outcome(
            run,
            Kind.POLLED,
            State.SCHEDULED,
            poll.status,
            delay_s=bounded_s(poll.after_s, 0.0),
            counts=False,
            progress=_percent(poll.progress),
        )
    if poll.status is Status.SUCCESS:
        return outcome(run, Kind.SUCCEEDED, State.COMPLETED, Status.SUCCESS)
    if poll.status is Status.CANCELLED:
        return _cancelled(run, "reported as cancelled")
    reason = f"reported as {poll.status.wire or 'empty status'}"
    more = {"error": reason, "fail_reason": reason}
    return outcome(run, Kind.FAILED, State.COMPLETED, Status.FAILURE, **more)


def _percent(progress: object) -> int | None:
    if not isinstance(progress, int | float) or progress != progress:
        return None
    return int(max(0, min(100, progress)))


def _signal(error: BaseException) -> BaseException | None:
    """The handler's word: the error, one of its causes, or alone in a task group's exception."""
    one: BaseException | None = error
    for _ in range(_CHAIN):
        if one is None or isinstance(one, _SIGNALS):
            return one
        alone = isinstance(one, BaseExceptionGroup) and len(one.exceptions) == 1
        one = one.exceptions[0] if alone and isinstance(one, BaseExceptionGroup) else one.__cause__
    return None
