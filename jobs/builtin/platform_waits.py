"""Tasks that nobody may ask about now: they wait, and nothing of theirs is used up."""

import random

from jobs.builtin.platform_runs import run_facts
from jobs.contract.reader import contract
from jobs.domain.outcomes import Outcome, PlatformFacts
from jobs.domain.states import Status
from jobs.lifecycle import polling
from jobs.lifecycle.polling import Decision
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.platforms import PlatformSettings
from jobs.operations.runs import Run

HELD_S = 300.0
"""The longest that anybody is put off for what an operator may end at any moment."""
NO_KEY_S = 30.0
"""A rotation is going on: another worker has the key, or this one soon."""


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


def _unchanged(facts: PlatformFactsRow, decision: Decision) -> PlatformFacts:
    return PlatformFacts(
        polls=decision.polls_in_status,
        unknowns=decision.unknowns,
        contact_errors=decision.contact_errors,
    )
