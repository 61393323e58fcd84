"""From a platform's answer to the Outcome that settles the run; pure but for the jitter."""

import random

from jobs.contract.reader import contract
from jobs.domain import ids
from jobs.domain.outcomes import Kind, Outcome, PlatformFacts
from jobs.domain.states import State, Status
from jobs.lifecycle import polling
from jobs.lifecycle.polling import Decision, Step
from jobs.lifecycle.settlement import RunFacts, outcome
from jobs.lifecycle.texts import result_problem
from jobs.operations.platforms import PlatformFactsRow, PlatformSettings
from jobs.operations.runs import Run
from jobs.platforms import base

_DISABLED_S = 300.0


def reference(run: Run, facts: PlatformFactsRow) -> str:
    """Our idempotency key over there: the same for every try of one charged run-through."""
    return f"{ids.public_id(run.id)}.{facts.cycle}"


def poll_request(facts: PlatformFactsRow) -> base.PollRequest:
    return base.PollRequest(
        task_id=facts.task_id, external_id=facts.external_id or "", urls=facts.urls
    )


def accepted(
    run: Run, facts: PlatformFactsRow, settings: PlatformSettings, answer: base.Accepted
) -> Outcome:
    decision = polling.next_poll(
        answer.status,
        polls_in_status=0,
        unknowns=0,
        profile=contract().profile(settings.profile),
        jitter=random.random(),
        left_s=facts.left_s,
    )
    learnt = PlatformFacts(
        external_id=answer.external_id,
        raw_status=answer.raw_status,
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        urls=answer.urls,
        answer=answer.answer,
    )
    return polling.settle(_facts(run), decision, platform=learnt)


def polled(
    run: Run, facts: PlatformFactsRow, settings: PlatformSettings, answer: base.PollResult
) -> tuple[Step, Outcome]:
    """The decision's step and the Outcome. EXPIRE: the caller cancels upstream before reporting."""
    decision, words = _decide(run, facts, settings, answer)
    learnt = PlatformFacts(
        raw_status=getattr(answer, "raw_status", None),
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        contact_errors=decision.contact_errors,
        answer=getattr(answer, "answer", None),
    )
    error = (
        words
        if decision.step in (Step.CONTACT, Step.PARK) or isinstance(answer, base.Unrecognised)
        else None
    )
    made = polling.settle(
        _facts(run),
        decision,
        platform=learnt,
        result=_result(answer),
        error=error,
        reason=words if decision.step is Step.FAIL else None,
        progress=getattr(answer, "progress", None),
    )
    return decision.step, made


def _result(answer: base.PollResult) -> object:
    """A success' result, or why it cannot be kept: too large a result is no failure of the task."""
    if not isinstance(answer, base.Succeeded):
        return None
    problem = result_problem(answer.result)
    return answer.result if problem is None else {"not_kept": problem}


def contact_error(
    run: Run,
    facts: PlatformFactsRow,
    settings: PlatformSettings,
    reason: str,
    retry_after_s: float | None,
) -> Outcome:
    return polled(
        run, facts, settings, base.TransientPoll(reason=reason, retry_after_s=retry_after_s)
    )[1]


def postponed(
    run: Run, facts: PlatformFactsRow, settings: PlatformSettings, wait_s: float
) -> Outcome:
    """The breaker is open: later, nothing is used up. After the time limit even that ends the task."""
    decision = polling.postponed(
        Status(run.status),
        wait_s=wait_s,
        profile=contract().profile(settings.profile),
        jitter=random.random(),
        left_s=facts.left_s,
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        contact_errors=facts.contact_errors,
    )
    return polling.settle(_facts(run), decision, platform=_unchanged(facts, decision))


def disabled(run: Run, facts: PlatformFactsRow, settings: PlatformSettings) -> Outcome:
    """Its platform is switched off: it waits and is not failed for it, not even past its time limit."""
    decision = polling.postponed(
        Status(run.status),
        wait_s=_DISABLED_S,
        profile=contract().profile(settings.profile),
        jitter=random.random(),
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        contact_errors=facts.contact_errors,
    )
    return polling.settle(_facts(run), decision, platform=_unchanged(facts, decision))


def expired(run: Run, facts: PlatformFactsRow, settings: PlatformSettings) -> Outcome:
    """The time limit passed before anything was created over there."""
    return contact_error(run, facts, settings, "time limit", None)


def rejected(run: Run, facts: PlatformFactsRow, reason: str) -> Outcome:
    return _ended(run, facts, f"the platform refused the request: {reason}", raw_status="rejected")


def lost(run: Run) -> Outcome:
    """Its platform or its other half is gone: nothing can be asked any more."""
    return outcome(
        _facts(run),
        Kind.FAILED,
        State.COMPLETED,
        Status.FAILURE,
        error="the task's platform does not exist any more",
    )


def parked_unknown(run: Run, facts: PlatformFactsRow, reason: str) -> Outcome:
    """Perhaps it exists over there: UNKNOWN, not polled, ends at its time limit or by an operator (E-03)."""
    if facts.left_s <= 0:
        return _ended(run, facts, f"time limit; {reason}", raw_status=None)
    return outcome(
        _facts(run),
        Kind.POLLED,
        State.RETRY,
        Status.UNKNOWN,
        delay_s=facts.left_s,
        counts=False,
        error=f"ambiguous submit, parked until the time limit: {reason}",
        platform=PlatformFacts(
            unknowns=facts.unknowns, contact_errors=facts.contact_errors, polls=facts.polls
        ),
    )


def _decide(
    run: Run, facts: PlatformFactsRow, settings: PlatformSettings, answer: base.PollResult
) -> tuple[Decision, str | None]:
    profile = contract().profile(settings.profile)
    status, jitter = Status(run.status), random.random()
    match answer:
        case base.TransientPoll(reason=reason, retry_after_s=after_s):
            return polling.after_contact_error(
                status,
                contact_errors=facts.contact_errors,
                profile=profile,
                jitter=jitter,
                left_s=facts.left_s,
                retry_after_s=after_s,
                polls_in_status=facts.polls,
                unknowns=facts.unknowns,
            ), reason
        case base.Unrecognised(raw_status=raw):
            return polling.after_unrecognised(
                status,
                polls_in_status=facts.polls,
                unknowns=facts.unknowns,
                profile=profile,
                jitter=jitter,
                left_s=facts.left_s,
            ), f"unrecognised status {raw!r}"
    return polling.next_poll(
        _reported(answer),
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        profile=profile,
        jitter=jitter,
        previous=status,
        left_s=facts.left_s,
    ), getattr(answer, "reason", None)


def _reported(answer: base.PollResult) -> Status:
    match answer:
        case base.Running(status=status):
            return status
        case base.Succeeded():
            return Status.SUCCESS
        case base.Failed():
            return Status.FAILURE
        case base.Cancelled():
            return Status.CANCELLED
    return Status.UNKNOWN


def _ended(run: Run, facts: PlatformFactsRow, reason: str, *, raw_status: str | None) -> Outcome:
    return outcome(
        _facts(run),
        Kind.FAILED,
        State.COMPLETED,
        Status.FAILURE,
        error=reason,
        fail_reason=reason,
        platform=PlatformFacts(raw_status=raw_status, polls=facts.polls),
    )


def _unchanged(facts: PlatformFactsRow, decision: Decision) -> PlatformFacts:
    return PlatformFacts(
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        contact_errors=decision.contact_errors,
    )


def _facts(run: Run) -> RunFacts:
    return RunFacts(
        task_id=run.id,
        token=run.token,
        retried=run.retried,
        max_retries=run.max_retries,
        crashes=run.crashes,
        charged=run.credits > 0,
        status=Status(run.status),
    )
