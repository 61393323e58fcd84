"""From a platform's answer to the Outcome that settles the run; pure but for the jitter."""

import math
import random
from dataclasses import replace

from jobs.contract.reader import contract
from jobs.domain import ids
from jobs.domain.outcomes import Kind, Outcome, PlatformFacts
from jobs.domain.states import State, Status
from jobs.lifecycle import polling
from jobs.lifecycle.polling import Decision, Step
from jobs.lifecycle.settlement import RunFacts
from jobs.lifecycle.texts import result_problem
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.platforms import PlatformSettings
from jobs.operations.runs import Run
from jobs.platforms import base

_LEAVES_S = 0.02
"""From the moment that a poll is taken to that at which its request leaves: delays are never shortened."""
HELD_S = 300.0
"""The longest that anybody is put off for what an operator may end at any moment."""
NO_KEY_S = 30.0
"""A rotation is going on: another worker has the key, or this one soon."""


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
        answer=_word(answer),
        cancel_upstream=decision.step is Step.EXPIRE and not stopped,
    )
    made = polling.settle(
        run_facts(run),
        decision,
        platform=learnt,
        result=_result(answer),
        error=words if _is_worth_a_line(decision, answer) else None,
        reason=_reason(decision, answer, words),
        progress=getattr(answer, "progress", None),
    )
    made = replace(made, refund=refund(run.credits, getattr(answer, "billed", None), settings))
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


def _word(answer: base.PollResult) -> object:
    """What is kept of an answer: the platform's own words, also where it knows nothing of the task."""
    if isinstance(answer, base.NotFound):
        return {"not_found": answer.reason}
    return getattr(answer, "answer", None)


def expires(facts: PlatformFactsRow, answer: base.PollResult) -> bool:
    """Whether this was the last poll of a task that has not ended: it is to be cancelled over there."""
    ended = isinstance(answer, base.Succeeded | base.Failed | base.Cancelled)
    return facts.left_s <= 0 and not ended


def refund(credits: int, billed: float | None, settings: PlatformSettings) -> int | None:
    """Credits to pay back when the platform billed a part, rounded in the user's favour; None: all of them."""
    if billed is None or settings.config.options.get("partial_refund") is False:
        return None
    return math.ceil(credits * (1 - max(0.0, min(1.0, billed))))


def _is_worth_a_line(decision: Decision, answer: base.PollResult) -> bool:
    return decision.step in (Step.CONTACT, Step.PARK) or isinstance(answer, base.Unrecognised)


def _reason(decision: Decision, answer: base.PollResult, words: str | None) -> str | None:
    """Why it ended: the platform's own words, after ours where we had to decide. None: ours alone."""
    if decision.step is Step.EXPIRE:
        last = words or getattr(answer, "raw_status", None)
        return f"time limit; the platform's last word: {last}" if last else None
    if decision.step is not Step.FAIL or words is None:
        return None
    return f"{decision.reason}: {words}" if isinstance(answer, base.NotFound) else words


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
    answer = base.TransientPoll(reason=reason, retry_after_s=retry_after_s)
    return polled(run, facts, settings, answer)


def postponed(
    run: Run,
    facts: PlatformFactsRow,
    settings: PlatformSettings,
    wait_s: float,
    *,
    spread: bool = True,
) -> Outcome:
    """No request may go now (breaker, rate, concurrency): later, nothing is used up.

    `spread`: those who wait for the same thing are spread over the profile's longest delay.
    """
    decision = polling.postponed(
        Status(run.status),
        wait_s=wait_s,
        profile=contract().profile(settings.profile),
        jitter=random.random() if spread else 0.0,
        left_s=facts.left_s,
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        contact_errors=facts.contact_errors,
    )
    return polling.settle(run_facts(run), decision, platform=_unchanged(facts, decision))


def disabled(
    run: Run, facts: PlatformFactsRow, settings: PlatformSettings, wait_s: float
) -> Outcome:
    """Its platform is off or not to be reached: it waits and is not failed for it, not even past its time limit."""
    decision = polling.postponed(
        Status(run.status),
        wait_s=wait_s,
        profile=contract().profile(settings.profile),
        jitter=random.random(),
        polls_in_status=facts.polls,
        unknowns=facts.unknowns,
        contact_errors=facts.contact_errors,
    )
    return polling.settle(run_facts(run), decision, platform=_unchanged(facts, decision))


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


def _unchanged(facts: PlatformFactsRow, decision: Decision) -> PlatformFacts:
    return PlatformFacts(
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        contact_errors=decision.contact_errors,
    )


def run_facts(run: Run) -> RunFacts:
    return RunFacts(
        task_id=run.id,
        token=run.token,
        retried=run.retried,
        max_retries=run.max_retries,
        crashes=run.crashes,
        charged=run.credits > 0,
        status=Status(run.status),
    )
