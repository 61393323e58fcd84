"""Signing what we send: Standard Webhooks (HMAC-SHA256 over `id.timestamp.body`)."""

import base64
import binascii
import hashlib
import hmac

from django.conf import settings

from jobs.domain.errors import Invalid
from jobs.store import catalog

PREFIX = "whsec_"
DEFAULT = "default"


def secret(
    name: str | None = None, *, tenant_id: int = catalog.DEFAULT_TENANT, internal: bool = False
) -> str:
    """A tenant's stored secret of that name; without a name its `default`, or else one derived from our first key.

    What tenant `acme` calls `shop` is stored as `acme:shop`; a name without a prefix is the default tenant's.
    `internal`: also the one that billing signs with, which callers must not speak with.
    Raises Invalid for a name that nothing is stored under.
    """
    stored: dict[str, str] = settings.TASKCENTER.get("CALLBACK_SECRETS") or {}
    full = catalog.full_name(tenant_id, name or DEFAULT)
    if name is not None and (full not in stored or not (internal or _is_free(full, tenant_id))):
        raise Invalid(f"There is no stored secret {name!r}", field="secret", secret=name)
    found = stored.get(full)
    return found if found is not None else _derived(tenant_id)


def _is_free(full: str, tenant_id: int) -> bool:
    """Not billing's, and not another tenant's under its full name."""
    is_house = tenant_id == catalog.DEFAULT_TENANT
    return full != settings.TASKCENTER.get("BILLING_SECRET") and not (is_house and ":" in full)


def sign(key: str, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers that prove where a request comes from; the same signature under both its names."""
    text = signature(key, message_id, timestamp_s, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": text,
        "x-taskcenter-signature": text,
    }


def signature(key: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,<base64>`."""
    message = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(_bytes(key), message, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _bytes(key: str) -> bytes:
    """`whsec_` means base64, anything else is the key as it stands."""
    if not key.startswith(PREFIX):
        return key.encode()
    try:
        return base64.b64decode(key.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise Invalid("A stored secret beginning with whsec_ is not base64") from error


def _derived(tenant_id: int) -> str:
    first = str(settings.TASKCENTER["SECRET_KEYS"][0])
    whose = "" if tenant_id == catalog.DEFAULT_TENANT else f"{catalog.tenant(tenant_id).slug}:"
    digest = hashlib.sha256(f"taskcenter.callbacks:{whose}{first}".encode()).digest()
    return PREFIX + base64.b64encode(digest).decode()
