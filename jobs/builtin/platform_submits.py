"""Creating tasks on a platform: once each, and never again while an answer is missing (E-03)."""

from typing import Any

import msgspec

from jobs.builtin import platform_ends as ends
from jobs.builtin import platform_steps as steps
from jobs.builtin import platform_waits as waits
from jobs.builtin.platform_hearing import trouble
from jobs.builtin.platform_http import db
from jobs.builtin.platform_pace import pace
from jobs.builtin.platform_runs import reference
from jobs.builtin.platform_walk import Walk
from jobs.domain import ids
from jobs.domain.errors import Misconfigured
from jobs.operations import gates, hints
from jobs.operations.breakers import Heard
from jobs.operations.gates import Begun
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.runs import Run
from jobs.platforms import base
from jobs.store import sealed
from jobs.store.crashes import crash_point

_FULL_WAIT_S = 2.0
_UNKNOWN = "a submit left and its answer is unknown"


async def submit(walk: Walk, run: Run, facts: PlatformFactsRow) -> Heard | None:
    """Create the task over there, or find out whether an earlier request did. None: no request left."""
    if facts.left_s <= 0:
        return await _expire(walk, run, facts)
    if facts.submit_started:
        return await _look_up(walk, run, facts)
    if facts.cancel_requested:
        walk.report(ends.cancelled(run, facts, "cancelled before it was submitted"))
        return None
    settings = walk.settings
    try:
        payload = msgspec.json.decode(sealed.opened(run.payload_json))
    except Misconfigured:  # a rotation is going on: another worker has the key
        walk.report(waits.postponed(run, facts, settings, waits.NO_KEY_S))
        return None
    begun = await db(gates.begin_submit, run.id, settings.id, settings.max_concurrency)
    if begun is Begun.FULL:
        walk.report(waits.postponed(run, facts, settings, _FULL_WAIT_S))
        return None
    if begun is Begun.BEFORE:
        return await _look_up(walk, run, facts)
    heard = await _send(walk, run, facts, payload)
    if heard is not None:
        pace.note(settings.id, heard)
    return heard


async def _send(walk: Walk, run: Run, facts: PlatformFactsRow, payload: Any) -> Heard | None:
    ours = reference(run, facts)
    answer = await walk.adapter.submit(
        base.SubmitRequest(
            task_id=ids.public_id(run.id),
            reference=ours,
            payload=payload,
            webhook_url=hints.webhook_url(walk.settings.config, ours),
        )
    )
    match answer:
        case base.Accepted():
            crash_point("after_accept")
            walk.report(steps.accepted(run, facts, walk.settings, answer))
        case base.Rejected(reason=reason, unsent=True):
            await db(gates.submit_not_sent, run.id)
            walk.report(ends.barred(run, facts, reason))
            return None
        case base.Rejected(reason=reason):
            walk.report(ends.rejected(run, facts, reason))
        case base.Ambiguous(reason=reason):
            if walk.adapter.supports_lookup:
                walk.report(steps.contact_error(run, facts, walk.settings, reason, None))
            else:
                walk.report(ends.parked_unknown(run, facts, reason))
            return Heard.NOTHING
        case base.Transient(reason=reason, retry_after_s=after_s):
            await db(gates.submit_not_sent, run.id)
            walk.report(steps.contact_error(run, facts, walk.settings, reason, after_s))
            return trouble(answer)
    return Heard.GOOD


async def _look_up(walk: Walk, run: Run, facts: PlatformFactsRow) -> Heard | None:
    """An ambiguous submit: ask by our reference where the platform can, else park until the time limit."""
    if not walk.adapter.supports_lookup:
        walk.report(ends.parked_unknown(run, facts, _UNKNOWN))
        return None
    found = await walk.adapter.lookup(reference(run, facts))
    match found:
        case base.Accepted():
            walk.report(steps.accepted(run, facts, walk.settings, found))
            return Heard.GOOD
        case base.Transient(reason=why, retry_after_s=after_s):
            walk.report(steps.contact_error(run, facts, walk.settings, why, after_s))
            return trouble(found)
    reason = f"{_UNKNOWN}; the platform does not know it"
    if facts.unknowns > 0:  # lists over there may lag: only the second "not here" is believed
        await db(gates.submit_not_sent, run.id)
        walk.report(steps.unsent(run, facts, walk.settings, reason))
    else:
        walk.report(steps.not_here(run, facts, walk.settings, reason))
    return Heard.GOOD


async def _expire(walk: Walk, run: Run, facts: PlatformFactsRow) -> Heard | None:
    """The time limit passed: what an ambiguous submit may have created is looked for once more and cancelled."""
    if facts.submit_started and walk.adapter.supports_lookup:
        found = await walk.adapter.lookup(reference(run, facts))
        if isinstance(found, base.Accepted):
            walk.report(steps.accepted(run, facts, walk.settings, found))
            return None
    walk.report(ends.expired(run, facts))
    return None
