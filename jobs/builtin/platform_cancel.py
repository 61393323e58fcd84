"""`platform:cancel`: a task that has ended here is stopped on its platform; a late answer changes nothing here."""

import msgspec

from jobs.builtin.platform_http import client, db
from jobs.domain.outcomes import Retry
from jobs.handlers import Context, task
from jobs.operations import breakers, platform_facts, platforms
from jobs.operations.breakers import Heard
from jobs.operations.platforms import PlatformSettings
from jobs.platforms import base
from jobs.platforms.registry import adapter_for

_AGAIN_S = 30.0
_MOST_RUNS = 20


class CancelUpstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is needed, because the task itself may be deleted by now."""

    task_id: str
    platform_id: int
    external_id: str
    urls: dict[str, str] = {}


@task(platform_facts.CANCEL, queue="critical", retention_s=86_400, timeout_s=180, internal=True)
async def cancel_upstream(payload: CancelUpstream, context: Context) -> dict[str, str | None]:
    """Asked again until the platform has a final word; a success by then is noted as an event of the task."""
    found = await db(platforms.settings_of, [payload.platform_id])
    settings = found.get(payload.platform_id)
    if settings is None:
        return {"answer": "the platform does not exist any more"}
    answer, word = await _ask(payload, settings)
    said = {"answer": type(answer).__name__, "word": getattr(word, "raw_status", None)}
    if isinstance(word, base.Succeeded):
        await db(platform_facts.note, payload.task_id, "late_success", raw_status=word.raw_status)
        return said
    open_ = isinstance(answer, base.CancelRequested) and not isinstance(
        word, base.Cancelled | base.Failed
    )
    if open_ and context.attempt < _MOST_RUNS:
        raise Retry(_AGAIN_S, counts=False, reason="the platform has not stopped it yet")
    await db(platform_facts.note, payload.task_id, "upstream_cancel", **said)
    return said


async def _ask(
    payload: CancelUpstream, settings: PlatformSettings
) -> tuple[base.CancelResult, base.PollResult | None]:
    """The answer to the cancel and, unless it is the end, to a poll. Raises Retry for an open breaker or no answer."""
    admission = await db(breakers.admit, settings.config.name, settings.service, 1)
    if not admission.allowed:
        raise Retry(max(admission.wait_s, 1.0), counts=False, reason="the breaker is open")
    adapter = adapter_for(settings.config, await client())
    request = base.PollRequest(
        task_id=payload.task_id, external_id=payload.external_id, urls=payload.urls
    )
    answer = await adapter.cancel(request)
    heard = Heard.GOOD
    if isinstance(answer, base.CancelTransient):
        heard = Heard.KEPT if answer.kept else Heard.NOTHING
    await db(breakers.record, admission, [heard])
    if isinstance(answer, base.CancelTransient):
        raise Retry(answer.retry_after_s, reason=answer.reason)
    if isinstance(answer, base.CancelRequested | base.TooLate):
        return answer, (await adapter.poll([request])).get(payload.task_id)
    return answer, None


__all__ = ["cancel_upstream"]
