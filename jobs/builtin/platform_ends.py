"""Ends of platform tasks that no poll reports: refused, lost, parked, cancelled or expired before they were created."""

from jobs.builtin.platform_runs import run_facts
from jobs.domain.outcomes import Kind, Outcome, PlatformFacts
from jobs.domain.states import State, Status
from jobs.lifecycle.settlement import outcome
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.runs import Run


def expired(run: Run, facts: PlatformFactsRow) -> Outcome:
    """The time limit passed, and nothing is known to be over there."""
    why = "a submit left and its answer is unknown" if facts.submit_started else "never submitted"
    return _ended(run, facts, f"time limit; {why}", raw_status=None)


def cancelled(run: Run, facts: PlatformFactsRow, reason: str) -> Outcome:
    """Cancelled by an operator before anything was created over there."""
    return outcome(
        run_facts(run),
        Kind.CANCELLED,
        State.COMPLETED,
        Status.CANCELLED,
        fail_reason=reason,
        platform=PlatformFacts(polls=facts.polls),
    )


def rejected(run: Run, facts: PlatformFactsRow, reason: str) -> Outcome:
    text = f"the platform refused the request: {reason}"
    return _ended(run, facts, text, raw_status="rejected", understood=True)


def barred(run: Run, facts: PlatformFactsRow, reason: str) -> Outcome:
    """Our guard does not call the platform's address: nothing left, so nothing was created."""
    text = f"the request never left, for the platform's address may not be called: {reason}"
    return _ended(run, facts, text, raw_status=None)


def lost(run: Run) -> Outcome:
    """Its platform or its other half is gone: nothing can be asked any more."""
    return outcome(
        run_facts(run),
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
        run_facts(run),
        Kind.POLLED,
        State.RETRY,
        Status.UNKNOWN,
        delay_s=facts.left_s,
        counts=False,
        error=f"ambiguous submit, parked until the time limit: {reason}",
        platform=PlatformFacts(
            understood=False,
            unknowns=facts.unknowns,
            contact_errors=facts.contact_errors,
            polls=facts.polls,
        ),
    )


def _ended(
    run: Run,
    facts: PlatformFactsRow,
    reason: str,
    *,
    raw_status: str | None,
    understood: bool | None = None,
) -> Outcome:
    return outcome(
        run_facts(run),
        Kind.FAILED,
        State.COMPLETED,
        Status.FAILURE,
        error=reason,
        fail_reason=reason,
        platform=PlatformFacts(raw_status=raw_status, understood=understood, polls=facts.polls),
    )
