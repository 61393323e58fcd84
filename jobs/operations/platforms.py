"""Platforms: registering and changing them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.db import transaction

from jobs.contract.reader import contract
from jobs.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Misconfigured,
    TaskCenterError,
    UnknownPlatform,
    refuse,
)
from jobs.lifecycle.breaker import name_of, service_name
from jobs.models import Platform
from jobs.operations import platform_checks as checks
from jobs.platforms.base import PlatformConfig
from jobs.store import catalog, postgres, secrets

LIMITS = ("max_concurrency", "rate_per_s", "price")
_PLAIN = (*LIMITS, "protocol", "base_url", "profile", "allow_private", "options", "enabled")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformSpec:
    """What an operator says of a platform; `None` leaves a field as it is on a change, but for those in `lifted`.

    `lifted`: which of max_concurrency, rate_per_s and price are to be none.
    """

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
    lifted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformSettings:
    """How to talk to a platform (`config`), how often (`profile`), and how much at once (None: no limit).

    `service` names the breaker of the service instance behind `base_url`. `unreadable`: no key that is known here
    opens its secrets, and `config` has none.
    """

    id: int
    profile: str
    enabled: bool
    max_concurrency: int | None
    rate_per_s: float | None
    service: str
    config: PlatformConfig
    unreadable: bool = False


def create(spec: PlatformSpec, *, tenant_id: int = 1) -> Platform:
    """Register a platform. Raises Invalid (what is missing or wrong) or Conflict (name taken)."""
    if not spec.name or not spec.protocol or not spec.base_url:
        raise Invalid("A platform needs `name`, `protocol` and `base_url`")
    with transaction.atomic():
        if Platform.objects.filter(name=spec.name).exists():
            raise Conflict("There is a platform '%(name)s' already", field="name", name=spec.name)
        platform = Platform(tenant_id=tenant_id, name=spec.name)
        _apply(platform, spec)
        platform.save(force_insert=True)
    return platform


def change(spec: PlatformSpec, *, may_reach_private: bool = True) -> Platform:
    """Change the fields given. Raises UnknownPlatform, Invalid, Forbidden.

    Another address needs its credential said anew: a stored one goes nowhere else. `may_reach_private=False`:
    the caller may neither allow private addresses nor choose another one where they are allowed.
    """
    with transaction.atomic():
        platform = Platform.objects.select_for_update().filter(name=spec.name).first()
        if platform is None:
            raise UnknownPlatform("There is no platform '%(platform)s'", platform=spec.name)
        _check_move(platform, spec, may_reach_private)
        was_enabled = platform.enabled
        _apply(platform, spec)
        platform.save()
        if platform.enabled and not was_enabled:
            poll_soon([platform])
    return platform


def _check_move(platform: Platform, spec: PlatformSpec, may_reach_private: bool) -> None:
    moves = spec.base_url is not None and spec.base_url != platform.base_url
    opens = bool(spec.allow_private) and not platform.allow_private
    if (opens or (moves and platform.allow_private)) and not may_reach_private:
        raise Forbidden("Private addresses of a platform need scope admin", scope="admin")
    if moves and platform.credential_sealed and spec.credential is None:
        raise Invalid("Another `base_url` needs the credential said anew", field="credential")


def poll_soon(platforms: Iterable[Platform]) -> None:
    """Tasks that waited for their platform come within one interval, spread over it; the rest at their own time.

    One that was never asked for waits for its own time, not for the platform.
    """
    for platform in platforms:
        postgres.execute(
            "poll_soon",
            {"platform": platform.pk, "max_s": contract().profile(platform.profile).max_s},
        )


def behind(breaker: str) -> list[Platform]:
    """The platforms whose requests need leave of this breaker (its name in full)."""
    return [
        p
        for p in Platform.objects.order_by("name")[:1000]
        if breaker in (name_of(p.name), _service(p))
    ]


def _service(p: Platform) -> str:
    return service_name(p.base_url, catalog.owner(p.tenant_id, p.name))


def settings_of(platform_ids: Sequence[int]) -> dict[int, PlatformSettings]:
    """Configurations with their secrets in the clear, for adapters only; what cannot be opened harms no other."""
    found = Platform.objects.filter(pk__in=list(platform_ids))
    return {p.pk: _settings(p, unreadable=True) for p in found}


def settings_by_name(name: str) -> PlatformSettings:
    """The same for one platform. Raises UnknownPlatform."""
    platform = Platform.objects.filter(name=name).first()
    if platform is None:
        raise UnknownPlatform("There is no platform '%(platform)s'", platform=name)
    return _settings(platform)


def _settings(p: Platform, *, unreadable: bool = False) -> PlatformSettings:
    """Raises Misconfigured when no key opens its secrets, unless it may be `unreadable`."""
    try:
        credential = secrets.unseal(p.credential_sealed)
        webhook_secret = secrets.unseal(p.webhook_secret_sealed)
    except Misconfigured:
        if not unreadable:
            raise
        credential, webhook_secret = "", ""
    else:
        unreadable = False
    return PlatformSettings(
        unreadable=unreadable,
        id=p.pk,
        profile=p.profile,
        enabled=p.enabled,
        max_concurrency=p.max_concurrency,
        rate_per_s=p.rate_per_s,
        service=_service(p),
        config=PlatformConfig(
            name=p.name,
            protocol=p.protocol,
            base_url=p.base_url,
            credential=credential,
            webhook_secret=webhook_secret,
            time_limit_s=p.time_limit_s,
            allow_private=checks.may_be_private(p.allow_private),
            options=p.options,
        ),
    )


def faults(spec: PlatformSpec) -> list[TaskCenterError]:
    """All that `create` or `change` would refuse in what is said, for a form to show at once."""
    known = Platform.objects.filter(name=spec.name).first()
    return list(checks.faults(known or Platform(name=spec.name), _said(spec)))


def _said(spec: PlatformSpec) -> dict[str, Any]:
    said = {field.name: getattr(spec, field.name) for field in fields(spec)}
    return {name: value for name, value in said.items() if value is not None}


def _apply(platform: Platform, spec: PlatformSpec) -> None:
    said = _said(spec)
    refuse(checks.faults(platform, said))
    for name in _PLAIN:
        if name in said or (name in spec.lifted and name in LIMITS):
            setattr(platform, name, said.get(name))
    if spec.time_limit is not None:
        platform.time_limit_s = spec.time_limit
    if spec.credential is not None:
        platform.credential_sealed = secrets.seal(spec.credential)
    if spec.webhook_secret is not None:
        platform.webhook_secret_sealed = secrets.seal(spec.webhook_secret)
