"""What follows an answer of an external platform, or the lack of one."""

from dataclasses import dataclass
from enum import StrEnum

from jobs.contract.reader import contract
from jobs.contract.shapes import Profile
from jobs.domain.outcomes import Kind, Outcome, PlatformFacts
from jobs.domain.states import State, Status
from jobs.lifecycle import texts
from jobs.lifecycle.backoff import doubling_s
from jobs.lifecycle.policy import bounded_s
from jobs.lifecycle.settlement import RunFacts, outcome


class Step(StrEnum):
    """EXPIRE: that was the last poll; cancel upstream, then fail. PARK: wait for the time limit."""

    POLL = "poll"
    CONTACT = "contact"
    PARK = "park"
    POSTPONE = "postpone"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The next step and the counters to store; `delay_s` counts from the settle."""

    step: Step
    state: State
    status: Status
    delay_s: float = 0.0
    polls_in_status: int = 0
    unknowns: int = 0
    contact_errors: int = 0
    reason: str | None = None


_ENDS: dict[Step, tuple[Kind, Status]] = {
    Step.SUCCEED: (Kind.SUCCEEDED, Status.SUCCESS),
    Step.FAIL: (Kind.FAILED, Status.FAILURE),
    Step.EXPIRE: (Kind.FAILED, Status.FAILURE),
    Step.CANCEL: (Kind.CANCELLED, Status.CANCELLED),
}


def next_poll(
    reported: Status,
    *,
    polls_in_status: int,
    unknowns: int,
    profile: Profile,
    jitter: float,
    previous: Status | None = None,
    left_s: float | None = None,
    first_last_s: tuple[float, float] | None = None,
) -> Decision:
    """After a valid answer; "not found" is one of UNKNOWN. Contact errors become 0.

    Counters are those stored before it: answers in a row with this status, UNKNOWNs in a row; a
    `previous` status other than `reported` restarts the sequence. `left_s`: seconds to the time
    limit. `first_last_s`: the platform's own first and last delay for SUBMITTED and QUEUED.
    """
    if previous is not None and previous is not reported:
        polls_in_status = 0
    unknowns = unknowns + 1 if reported is Status.UNKNOWN else 0
    ended = _ended(reported, unknowns)
    if ended is not None:
        return ended
    if left_s is not None and left_s <= 0:
        return _end(Step.EXPIRE, "time limit")
    delay_s = _delay_s(reported, polls_in_status, unknowns, profile, first_last_s)
    return Decision(
        step=Step.POLL,
        state=State.SCHEDULED,
        status=reported,
        delay_s=_within(_longer(delay_s, jitter), left_s),
        polls_in_status=polls_in_status + 1,
        unknowns=unknowns,
    )


def after_unrecognised(
    last: Status,
    *,
    polls_in_status: int,
    unknowns: int,
    profile: Profile,
    jitter: float,
    left_s: float | None = None,
    first_last_s: tuple[float, float] | None = None,
) -> Decision:
    """After a valid answer with a word nobody knows: the last status and its counters stay."""
    if left_s is not None and left_s <= 0:
        return _end(Step.EXPIRE, "time limit")
    delay_s = _delay_s(last, polls_in_status, max(unknowns, 1), profile, first_last_s)
    return Decision(
        step=Step.POLL,
        state=State.SCHEDULED,
        status=last,
        delay_s=_within(_longer(delay_s, jitter), left_s),
        polls_in_status=polls_in_status,
        unknowns=unknowns,
    )


def after_contact_error(
    last: Status,
    *,
    contact_errors: int,
    profile: Profile,
    jitter: float,
    left_s: float | None = None,
    retry_after_s: float | None = None,
    polls_in_status: int = 0,
    unknowns: int = 0,
) -> Decision:
    """After no answer (429, 5xx, timeout, malformed): `contact_errors` in a row before this one.

    Never fails a task before its time limit. `retry_after_s`, the platform's wish, only lengthens.
    """
    if left_s is not None and left_s <= 0:
        return _end(Step.EXPIRE, "time limit")
    errors = contact_errors + 1
    delay_s = _longer(_by_profile(profile, contact_errors), jitter)
    parked = errors >= contract().polling.contact_error_limit
    if parked and left_s is not None:
        delay_s = left_s
    return Decision(
        step=Step.PARK if parked else Step.CONTACT,
        state=State.RETRY,
        status=last,
        delay_s=_within(max(delay_s, bounded_s(retry_after_s, 0.0)), left_s),
        polls_in_status=polls_in_status,
        unknowns=unknowns,
        contact_errors=errors,
        reason="parked: the platform does not answer" if parked else None,
    )


def postponed(
    last: Status,
    *,
    wait_s: float,
    profile: Profile,
    jitter: float,
    left_s: float | None = None,
    polls_in_status: int = 0,
    unknowns: int = 0,
    contact_errors: int = 0,
) -> Decision:
    """No poll was allowed (breaker, rate): again after `wait_s`; nothing counts.

    Jitter spreads over the profile's longest delay, so that what waited does not come at once.
    """
    if left_s is not None and left_s <= 0:
        return _end(Step.EXPIRE, "time limit")
    return Decision(
        step=Step.POSTPONE,
        state=State.SCHEDULED,
        status=last,
        delay_s=_within(max(wait_s, 0.0) + jitter * profile.max_s, left_s),
        polls_in_status=polls_in_status,
        unknowns=unknowns,
        contact_errors=contact_errors,
    )


def settle(
    run: RunFacts,
    decision: Decision,
    *,
    platform: PlatformFacts | None = None,
    result: object = None,
    error: str | None = None,
    reason: str | None = None,
    progress: int | None = None,
) -> Outcome:
    """The Outcome of a poll; it counts as no retry. `reason`, the platform's own words, wins."""
    waits = Kind.POSTPONED if decision.step is Step.POSTPONE else Kind.POLLED
    reason = reason or decision.reason
    return outcome(
        run,
        _ENDS[decision.step][0] if decision.step in _ENDS else waits,
        decision.state,
        decision.status,
        delay_s=decision.delay_s,
        counts=False,
        error=texts.bounded(error) if error else None,
        result=result,
        fail_reason=texts.bounded(reason) if reason else None,
        progress=progress,
        platform=platform,
    )


def _ended(reported: Status, unknowns: int) -> Decision | None:
    if reported is Status.SUCCESS:
        return _end(Step.SUCCEED, None)
    if reported is Status.FAILURE:
        return _end(Step.FAIL, "the platform reported failure")
    if reported is Status.EMPTY:
        return _end(Step.FAIL, "the platform reported an empty status")
    if reported is Status.CANCELLED:
        return _end(Step.CANCEL, "the platform reported cancellation")
    if unknowns >= contract().polling.unknown_limit:
        return _end(Step.FAIL, f"the platform reported UNKNOWN {unknowns} times in a row")
    return None


def _end(step: Step, reason: str | None) -> Decision:
    return Decision(step=step, state=State.COMPLETED, status=_ENDS[step][1], reason=reason)


def _delay_s(
    status: Status,
    polls: int,
    unknowns: int,
    profile: Profile,
    first_last_s: tuple[float, float] | None,
) -> float:
    if status is Status.NOT_START:
        return _by_profile(profile, polls)
    if first_last_s is not None and status in (Status.SUBMITTED, Status.QUEUED):
        return doubling_s(polls, first_s=first_last_s[0], last_s=first_last_s[1])
    delays = contract().poll_delays(status)
    at = unknowns - 1 if status is Status.UNKNOWN else polls
    return delays[min(at, len(delays) - 1)]


def _by_profile(profile: Profile, step: int) -> float:
    return doubling_s(step, first_s=profile.initial_s, last_s=profile.max_s)


def _longer(delay_s: float, jitter: float) -> float:
    """Jitter in [0, 1) adds up to the contract's ratio and never shortens."""
    return delay_s * (1 + contract().polling.jitter_ratio * jitter)


def _within(delay_s: float, left_s: float | None) -> float:
    """No later than the time limit, where the last poll is due."""
    return delay_s if left_s is None else min(delay_s, max(left_s, 0.0))
