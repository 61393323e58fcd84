"""Platforms: registering them, and what we know of a task over there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import transaction

from jobs.contract.reader import contract
from jobs.domain.errors import Conflict, Invalid, UnknownPlatform
from jobs.domain.outcomes import Outcome
from jobs.models import Platform
from jobs.platforms.base import PlatformConfig
from jobs.platforms.registry import PROTOCOLS
from jobs.store import postgres, secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformSpec:
    """What an operator says of a platform; `None` leaves a field as it is on a change."""

    name: str
    protocol: str | None = None
    base_url: str | None = None
    credential: str | None = None
    webhook_secret: str | None = None
    profile: str | None = None
    time_limit: int | None = None
    allow_private: bool | None = None
    max_concurrency: int | None = None
    rate_per_s: float | None = None
    price: int | None = None
    options: dict[str, Any] | None = None
    enabled: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformSettings:
    """How to talk to a platform (`config`) and how often (`profile`)."""

    profile: str
    enabled: bool
    config: PlatformConfig


def create(spec: PlatformSpec, *, tenant_id: int = 1) -> Platform:
    """Register a platform. Raises Invalid (what is missing or wrong) or Conflict (name taken)."""
    if not spec.name or not spec.protocol or not spec.base_url:
        raise Invalid("A platform needs `name`, `protocol` and `base_url`")
    with transaction.atomic():
        if Platform.objects.filter(name=spec.name).exists():
            raise Conflict(f"There is a platform {spec.name!r} already", name=spec.name)
        platform = Platform(tenant_id=tenant_id, name=spec.name)
        _apply(platform, spec)
        platform.save(force_insert=True)
    return platform


def change(spec: PlatformSpec) -> Platform:
    """Change the fields given. Raises UnknownPlatform, Invalid."""
    with transaction.atomic():
        platform = Platform.objects.select_for_update().filter(name=spec.name).first()
        if platform is None:
            raise UnknownPlatform(f"There is no platform {spec.name!r}", platform=spec.name)
        was_enabled = platform.enabled
        _apply(platform, spec)
        platform.save()
        if platform.enabled and not was_enabled:
            _poll_soon(platform)
    return platform


def _poll_soon(platform: Platform) -> None:
    """Tasks that waited for their platform come within one interval, spread over it; the rest at their own time."""
    postgres.query(
        "WITH l AS MATERIALIZED (SELECT t.id FROM platform_task p JOIN task t ON t.id = p.task_id"
        " WHERE p.platform_id = %s AND t.state = 3 LIMIT 20000 FOR NO KEY UPDATE OF t SKIP LOCKED)"
        " UPDATE task t SET run_at = clock_timestamp() + random() * %s * interval '1 second'"
        " FROM l WHERE t.id = l.id RETURNING 1",
        [platform.pk, contract().profile(platform.profile).max_s],
    )


@dataclass(frozen=True, slots=True)
class PlatformFactsRow:
    """A claimed platform task's other half. `left_s`: seconds to its time limit, negative when it has passed."""

    task_id: str
    platform_id: int
    external_id: str | None
    raw_status: str | None
    polls: int
    unknowns: int
    contact_errors: int
    submit_started: bool
    left_s: float
    urls: dict[str, str]
    cycle: int


def load(task_ids: Sequence[str]) -> dict[str, PlatformFactsRow]:
    """What is known of these tasks on their platforms, by task id."""
    rows = postgres.fetch("platform_load", {"ids": list(task_ids)})
    return {
        row[0]: PlatformFactsRow(*row[:9], msgspec.json.decode(row[9]), row[10]) for row in rows
    }


def settings_of(platform_ids: Sequence[int]) -> dict[int, PlatformSettings]:
    """Configurations with their secrets in the clear, for adapters only."""
    return {
        p.pk: PlatformSettings(
            profile=p.profile,
            enabled=p.enabled,
            config=PlatformConfig(
                name=p.name,
                protocol=p.protocol,
                base_url=p.base_url,
                credential=secrets.unseal(p.credential_sealed),
                webhook_secret=secrets.unseal(p.webhook_secret_sealed),
                time_limit_s=p.time_limit_s,
                allow_private=p.allow_private,
                options=p.options,
            ),
        )
        for p in Platform.objects.filter(pk__in=list(platform_ids))
    }


def begin_submit(task_id: str) -> bool:
    """Note that the request to create is about to leave; False if one left before (its answer is unknown)."""
    return bool(
        postgres.query(
            "UPDATE platform_task SET submit_started_at = clock_timestamp()"
            " WHERE task_id = %s AND submit_started_at IS NULL RETURNING 1",
            [task_id],
        )
    )


def submit_not_sent(task_id: str) -> None:
    """The request certainly created nothing: it may be sent again."""
    postgres.query(
        "UPDATE platform_task SET submit_started_at = NULL WHERE task_id = %s AND external_id IS NULL RETURNING 1",
        [task_id],
    )


def _apply(platform: Platform, spec: PlatformSpec) -> None:
    if spec.protocol is not None and spec.protocol not in PROTOCOLS:
        raise Invalid(f"Unknown protocol {spec.protocol!r}", known=sorted(PROTOCOLS))
    if spec.base_url is not None and not spec.base_url.startswith(("http://", "https://")):
        raise Invalid("`base_url` must begin with http:// or https://")
    for name in (
        "protocol",
        "base_url",
        "profile",
        "allow_private",
        "max_concurrency",
        "rate_per_s",
        "price",
        "options",
        "enabled",
    ):
        value = getattr(spec, name)
        if value is not None:
            setattr(platform, name, value)
    if spec.time_limit is not None:
        if not 1 <= spec.time_limit <= 30 * 86_400:
            raise Invalid("`time_limit` is between 1 second and 30 days")
        platform.time_limit_s = spec.time_limit
    if spec.credential is not None:
        platform.credential_sealed = secrets.seal(spec.credential)
    if spec.webhook_secret is not None:
        platform.webhook_secret_sealed = secrets.seal(spec.webhook_secret)


def keep_facts(mine: set[str], outcomes: Sequence[Outcome]) -> None:
    """Store what settled runs learnt of their tasks on a platform; runs that were fenced are left out."""
    facts = [
        (o.task_id, o.platform) for o in outcomes if o.platform is not None and o.task_id in mine
    ]
    if not facts:
        return
    postgres.fetch(
        "platform_keep",
        {
            "ids": [id_ for id_, _ in facts],
            "external_ids": [f.external_id for _, f in facts],
            "raw_statuses": [f.raw_status for _, f in facts],
            "polls": [f.polls for _, f in facts],
            "unknowns": [f.unknowns for _, f in facts],
            "contact_errors": [f.contact_errors for _, f in facts],
            "urls": [msgspec.json.encode(f.urls).decode() for _, f in facts],
            "answers": [
                None if f.answer is None else msgspec.json.encode(f.answer).decode()
                for _, f in facts
            ],
        },
    )
