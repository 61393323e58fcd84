"""Webhooks of platforms: a verified one only says "poll now", so that every task's end is settled in one place."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import structlog
from django.conf import settings
from django.db import transaction

from jobs.domain import ids
from jobs.domain.errors import NotFound, UnknownPlatform
from jobs.domain.states import State
from jobs.operations import platform_facts, platforms
from jobs.platforms.base import Adapter, PlatformConfig, Succeeded, WebhookHint
from jobs.platforms.connections import Client
from jobs.platforms.registry import adapter_for
from jobs.store import postgres

log = structlog.get_logger("platforms")

SEEN_FOR_S = 3600
_NEED_A_SECRET = ("replicate", "generic")


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """`due_now`: its next poll was brought forward; `duplicate`: this delivery was seen before."""

    task_id: str
    due_now: bool
    duplicate: bool = False


def webhook_url(config: PlatformConfig, reference: str) -> str | None:
    """Where the platform may send its webhooks; None without a public URL, or when none could be verified."""
    public: str = settings.TASKCENTER.get("PUBLIC_URL") or ""
    if not public or (config.protocol in _NEED_A_SECRET and not config.webhook_secret):
        return None
    return f"{public.rstrip('/')}/api/v1/webhooks/{config.name}?task={reference}"


def receive(
    platform: str, headers: Mapping[str, str], body: bytes, reference: str = ""
) -> Received:
    """Verify a webhook and make its task due. Raises NotFound (platform or id), WebhookRefused.

    `reference`: ours, as we gave it with the webhook's URL; it ends an ambiguous submit.
    """
    try:
        found = platforms.settings_by_name(platform)
    except UnknownPlatform as error:
        raise NotFound("There is no such platform", platform=platform) from error
    hint = asyncio.run(_verified(found.config, headers, body))
    with transaction.atomic():
        row = _task_of(found.id, hint, reference)
        if row is None:
            raise NotFound("No task has this id on the platform", platform=platform)
        task_id, state = row
        public = ids.public_id(task_id)
        if hint.delivery_id is not None and not _is_new(f"{platform}:{hint.delivery_id}"):
            return Received(task_id=public, due_now=False, duplicate=True)
        if isinstance(hint.result, Succeeded):
            platform_facts.note_late_success(task_id, hint.result.raw_status)
        due_now = bool(postgres.fetch("platform_hint", {"id": task_id}))
    log.info("webhook", platform=platform, task_id=public, due_now=due_now, state=State(state).wire)
    return Received(task_id=public, due_now=due_now)


def prune() -> int:
    """Forget deliveries that are too old to be replayed; a bounded batch."""
    return len(
        postgres.query(
            "DELETE FROM webhook_delivery WHERE key = ANY(ARRAY(SELECT key FROM webhook_delivery"
            " WHERE seen_at < (SELECT clock_timestamp()) - %s * interval '1 second' ORDER BY seen_at LIMIT 500))"
            " RETURNING 1",
            [SEEN_FOR_S],
        )
    )


async def _verified(config: PlatformConfig, headers: Mapping[str, str], body: bytes) -> WebhookHint:
    async with Client() as client:
        adapter: Adapter = adapter_for(config, client)
        now_s = time.time()
        await adapter.prepare_webhook(now_s)
        adapter.verify_webhook(headers, body, now_s)
        return adapter.parse_webhook(headers, body)


def _task_of(platform_id: int, hint: WebhookHint, reference: str) -> tuple[str, int] | None:
    rows = postgres.query(
        "SELECT t.id::text, t.state FROM platform_task p JOIN task t ON t.id = p.task_id"
        " WHERE p.platform_id = %s AND p.external_id = %s ORDER BY p.task_id DESC LIMIT 1",
        [platform_id, hint.external_id],
    )
    if rows:
        return rows[0][0], rows[0][1]
    return _adopted(platform_id, hint, reference) if reference else None


def _adopted(platform_id: int, hint: WebhookHint, reference: str) -> tuple[str, int] | None:
    """A submit whose answer was lost: the platform itself now tells the id, under a reference that only it knew."""
    name, _, cycle = reference.rpartition(".")
    task_id = ids.parse_id(name) if name.startswith("task_") and cycle.isdecimal() else None
    if task_id is None or len(cycle) > 4:
        return None
    adopted = postgres.fetch(
        "platform_late",
        {
            "id": task_id,
            "platform": platform_id,
            "cycle": int(cycle),
            "external_id": hint.external_id,
            "raw_status": getattr(hint.result, "raw_status", None),
            "urls": msgspec.json.encode({}).decode(),
        },
    )
    if not adopted:
        return None
    platform_facts.note(str(task_id), "submit_found", external_id=hint.external_id)
    if adopted[0][1]:
        platform_facts.cancel_upstream([str(task_id)])
    [row] = postgres.query("SELECT id::text, state FROM task WHERE id = %s", [task_id])
    return row[0], row[1]


def _is_new(key: str) -> bool:
    return bool(
        postgres.query(
            "INSERT INTO webhook_delivery (key) VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1",
            [key[:500]],
        )
    )
