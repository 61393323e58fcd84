"""What is wrong with what an operator says of a platform, before any of it is stored: all at once."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from jobs.contract.reader import contract
from jobs.domain.errors import Invalid
from jobs.models import Platform
from jobs.platforms.base import PlatformConfig
from jobs.platforms.registry import PROTOCOLS, complaints
from jobs.store import secrets

_SAID_FOR = {
    "base_url": ("base_url", "allow_private"),
    "credential": ("credential", "protocol"),
    "webhook_secret": ("webhook_secret", "protocol"),
    "options": ("options", "protocol"),
}


def faults(before: Platform, said: dict[str, Any]) -> list[Invalid]:
    """`said`: the fields that are given. What was stored earlier is judged anew only where what is said touches it.

    A platform that is switched off may lack options; with the switch all of it is judged.
    """
    return [*_own(said), *_adapters(before, said)]


def _own(said: dict[str, Any]) -> Iterator[Invalid]:
    protocol, profile = said.get("protocol"), said.get("profile")
    if protocol is not None and protocol not in PROTOCOLS:
        yield Invalid(
            "Unknown protocol '%(protocol)s'",
            protocol=protocol,
            field="protocol",
            known=sorted(PROTOCOLS),
        )
    if profile is not None and profile not in contract().profiles:
        yield Invalid(
            "Unknown profile '%(profile)s'",
            profile=profile,
            field="profile",
            known=sorted(contract().profiles),
        )
    if "time_limit" in said and not 1 <= said["time_limit"] <= 30 * 86_400:
        yield Invalid("`time_limit` is between 1 second and 30 days", field="time_limit")


def _adapters(before: Platform, said: dict[str, Any]) -> Iterator[Invalid]:
    moved = {name for name, value in said.items() if value != getattr(before, name, None)}
    on = said.get("enabled", before.enabled)
    switched = on and not before.enabled
    for one in complaints(_config(before, said, switched=switched)):
        touched = switched or moved.intersection(_SAID_FOR[one.field])
        if touched and (on or not one.missing):
            params = {name: value for name, value in one.params.items() if name != "field"}
            yield Invalid(one.message, field=one.field, **params)


def _config(before: Platform, said: dict[str, Any], *, switched: bool) -> PlatformConfig:
    """As it would be stored; secrets that nobody speaks of stay closed."""
    anew = switched or ("protocol" in said and said["protocol"] != before.protocol)

    def secret(name: str) -> str:
        if name in said:
            return str(said[name])
        return secrets.unseal(getattr(before, f"{name}_sealed")) if anew else ""

    return PlatformConfig(
        name=before.name,
        protocol=said.get("protocol", before.protocol),
        base_url=said.get("base_url", before.base_url),
        credential=secret("credential"),
        webhook_secret=secret("webhook_secret"),
        allow_private=may_be_private(said.get("allow_private", before.allow_private)),
        options=said.get("options", before.options),
    )


def may_be_private(allowed: bool) -> bool:
    """Whether a platform may have a private address: where it is `allowed` for itself, or in the whole house."""
    return allowed or bool(settings.TASKCENTER["ALLOW_PRIVATE"])
