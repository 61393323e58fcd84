"""From a platform's answer to the Outcome that settles the run; pure but for the jitter."""

import random
from dataclasses import replace

from jobs.builtin import platform_said as said
from jobs.builtin.platform_runs import run_facts
from jobs.contract.reader import contract
from jobs.domain.outcomes import Kind, Outcome, PlatformFacts
from jobs.domain.states import State, Status
from jobs.lifecycle import polling
from jobs.lifecycle.polling import Decision, Step
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.platforms import PlatformSettings
from jobs.operations.runs import Run
from jobs.platforms import base

_LEAVES_S = 0.02
"""From the moment that a poll is taken to that at which its request leaves: delays are never shortened."""


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
        first_last_s=first_last_s(settings),
    )
    learnt = PlatformFacts(
        external_id=answer.external_id,
        raw_status=answer.raw_status,
        understood=answer.status is not Status.UNKNOWN,
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        urls=answer.urls,
        answer=answer.answer,
        cancel_upstream=decision.step is Step.EXPIRE,
    )
    made = polling.settle(run_facts(run), decision, platform=learnt)
    return _unclaimed(made, decision, facts)


def first_last_s(settings: PlatformSettings) -> tuple[float, float] | None:
    """The platform's own first and last delay for SUBMITTED and QUEUED (options `poll_first_s`, `poll_last_s`)."""
    first_s, last_s = (settings.config.options.get(f"poll_{end}_s") for end in ("first", "last"))
    if not isinstance(first_s, int | float) or not isinstance(last_s, int | float):
        return None
    return (float(first_s), float(last_s)) if 0 < first_s <= last_s else None


def polled(
    run: Run,
    facts: PlatformFactsRow,
    settings: PlatformSettings,
    answer: base.PollResult,
    *,
    cancel_answer: str | None = None,
    stopped: bool = True,
) -> Outcome:
    """The Outcome of a poll. `stopped`: it is surely not worked on over there when the time limit ends it here."""
    decision, words = _decide(run, facts, settings, answer)
    learnt = PlatformFacts(
        raw_status=getattr(answer, "raw_status", None),
        understood=not isinstance(answer, base.Unrecognised | base.TransientPoll)
        and _reported(answer) is not Status.UNKNOWN,
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        contact_errors=decision.contact_errors,
        cancel_answer=cancel_answer,
        answer=said.word(answer),
        cancel_upstream=decision.step is Step.EXPIRE and not stopped,
    )
    made = polling.settle(
        run_facts(run),
        decision,
        platform=learnt,
        result=said.result(answer),
        error=words if said.is_worth_a_line(decision, answer) else None,
        reason=said.reason(decision, answer, words),
        progress=getattr(answer, "progress", None),
    )
    made = replace(made, refund=said.refund(run.credits, getattr(answer, "billed", None), settings))
    return _unclaimed(made, decision, facts) if isinstance(answer, base.Running) else made


def next_delay_s(run: Run, facts: PlatformFactsRow, settings: PlatformSettings) -> float:
    """When to ask again after an answer that says what the last one said: no later than at the time limit."""
    decision = polling.next_poll(
        Status(run.status),
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        profile=contract().profile(settings.profile),
        jitter=random.random(),
        first_last_s=first_last_s(settings),
    )
    return _LEAVES_S + min(decision.delay_s, max(facts.left_s, 0.0))


def is_news(run: Run, facts: PlatformFactsRow, answer: base.PollResult) -> bool:
    """Whether the answer says anything but what the last one said; more of its words than these are not compared."""
    return not (
        isinstance(answer, base.Running)
        and answer.raw_status == facts.raw_status
        and int(answer.status) == run.status
        and answer.progress in (None, facts.progress)
    )


def put_off(made: Outcome) -> Outcome:
    """The Outcome of a poll without news, as one that only puts off the next."""
    return replace(made, kind=Kind.POSTPONED)


def _unclaimed(made: Outcome, decision: Decision, facts: PlatformFactsRow) -> Outcome:
    """A task that goes well is asked about without a claim; its row waits for the time limit meanwhile."""
    if (
        decision.step is not Step.POLL
        or decision.unknowns
        or facts.cancel_requested
        or decision.delay_s >= facts.left_s
        or made.platform is None
    ):
        return made
    return replace(
        made,
        delay_s=facts.left_s,
        platform=replace(made.platform, poll_s=decision.delay_s),
    )


def expires(facts: PlatformFactsRow, answer: base.PollResult) -> bool:
    """Whether this was the last poll of a task that has not ended: it is to be cancelled over there."""
    ended = isinstance(answer, base.Succeeded | base.Failed | base.Cancelled)
    return facts.left_s <= 0 and not ended


def contact_error(
    run: Run,
    facts: PlatformFactsRow,
    settings: PlatformSettings,
    reason: str,
    retry_after_s: float | None,
) -> Outcome:
    answer = base.TransientPoll(reason=reason, retry_after_s=retry_after_s)
    return polled(run, facts, settings, answer)


def not_here(run: Run, facts: PlatformFactsRow, settings: PlatformSettings, reason: str) -> Outcome:
    """The platform does not know our reference; counted as an UNKNOWN, because only a second one is believed."""
    made = contact_error(run, facts, settings, reason, None)
    if made.platform is None or made.state is not State.RETRY:
        return made
    return replace(made, platform=replace(made.platform, unknowns=facts.unknowns + 1))


def unsent(run: Run, facts: PlatformFactsRow, settings: PlatformSettings, reason: str) -> Outcome:
    """Nothing was created over there: it is submitted again after the profile's delay."""
    made = contact_error(run, facts, settings, reason, None)
    if made.platform is None:
        return made
    return replace(made, platform=replace(made.platform, unknowns=0))


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
                first_last_s=first_last_s(settings),
            ), f"unrecognised status {raw!r}"
    return polling.next_poll(
        _reported(answer),
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        profile=profile,
        jitter=jitter,
        previous=status,
        left_s=facts.left_s,
        first_last_s=first_last_s(settings),
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
