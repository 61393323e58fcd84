"""Polling tasks on their platform, and what goes with it: an operator's two-phase cancel, the time limit's cancel."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from jobs.builtin import platform_steps as steps
from jobs.builtin.platform_hearing import trouble
from jobs.builtin.platform_pace import pace
from jobs.builtin.platform_runs import poll_request
from jobs.builtin.platform_walk import Pair, Walk
from jobs.domain import ids
from jobs.operations.breakers import Heard
from jobs.platforms import base

log = structlog.get_logger("platforms")

_SLOW_S = 0.25
"""After so long the delay to the next poll, which counts from the answer, is settled anew."""
_STOPPED = (base.CancelDone, base.CancelNotFound, base.CancelUnsupported, base.TooLate)


async def poll(walk: Walk, pairs: Sequence[Pair]) -> Heard:
    """Ask about all of them in one request and report."""
    cancels = await _ask_to_cancel(walk, pairs)
    began_s = time.monotonic()
    answers = await walk.adapter.poll([poll_request(facts) for _, facts in pairs])
    took_s = time.monotonic() - began_s
    answered = [
        (run, facts, answers.get(run.id) or base.TransientPoll(reason="the adapter left it out"))
        for run, facts in pairs
    ]
    late = []
    for run, facts, answer in answered:
        if steps.expires(facts, answer):
            late.append(_expire(walk, (run, facts), answer, cancels.get(run.id)))
        elif walk.taken_s is None or steps.is_news(run, facts, answer):
            given = cancels.get(run.id)
            walk.report(steps.polled(run, facts, walk.settings, answer, cancel_answer=given))
        elif time.monotonic() - walk.taken_s > _SLOW_S:
            walk.report(steps.put_off(steps.polled(run, facts, walk.settings, answer)))
        else:
            walk.quiet(run.id)
    await asyncio.gather(*late)
    heard = _heard([answer for _, _, answer in answered])
    pace.note(walk.settings.id, heard, poll_s=took_s)
    return heard


async def _expire(
    walk: Walk, pair: Pair, answer: base.PollResult, cancel_answer: str | None
) -> None:
    """Past the time limit: cancel over there first; what had ended by then is asked for its final word."""
    run, facts = pair
    request = poll_request(facts)
    cancelled = await walk.adapter.cancel(request)
    if isinstance(cancelled, base.TooLate):
        answer = (await walk.adapter.poll([request])).get(run.id, answer)
    word = type(cancelled).__name__
    log.warning("time limit", task_id=ids.public_id(run.id), upstream_cancel=word)
    walk.report(
        steps.polled(
            run,
            facts,
            walk.settings,
            answer,
            cancel_answer=cancel_answer,
            stopped=isinstance(cancelled, _STOPPED),
        )
    )


async def _ask_to_cancel(walk: Walk, pairs: Sequence[Pair]) -> dict[str, str]:
    """Pass on operators' two-phase cancels once; the poll that follows brings the platform's word."""
    asked = [
        facts
        for _, facts in pairs
        if walk.closed and facts.cancel_requested and facts.cancel_answer is None
    ]
    if not asked:
        return {}
    answers = await asyncio.gather(*(walk.adapter.cancel(poll_request(facts)) for facts in asked))
    return {
        facts.task_id: type(answer).__name__
        for facts, answer in zip(asked, answers, strict=True)
        if not isinstance(answer, base.CancelTransient)
    }


def _heard(answers: Sequence[base.PollResult]) -> Heard:
    failures = [answer for answer in answers if isinstance(answer, base.TransientPoll)]
    if len(failures) < len(answers):
        return Heard.GOOD
    found = {trouble(failure) for failure in failures}
    if Heard.REFUSED in found:
        return Heard.REFUSED
    return Heard.KEPT if found == {Heard.KEPT} else Heard.NOTHING
