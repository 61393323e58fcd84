"""Signatures of incoming (and our own outgoing) webhooks: Standard Webhooks and fal's Ed25519."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.domain.errors import Unauthenticated
from jobs.platforms.http import strict_json

TOLERANCE_S = 300
STANDARD = "whsec_"


class WebhookRefused(Unauthenticated):
    """The webhook's signature, time or body is not acceptable."""

    code = "webhook_refused"


def sign_standard(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,<base64>` by Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify_standard(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """The webhook's id. Raises WebhookRefused; several signatures (key rotation) may be given."""
    found = lower(headers)
    message_id = _required(found, "webhook-id")
    timestamp_s = _fresh(_required(found, "webhook-timestamp"), now_s)
    expected = sign_standard(secret, message_id, timestamp_s, body).encode()
    given = _required(found, "webhook-signature").split()[:10]
    if not any(hmac.compare_digest(expected, text.encode()) for text in given):
        raise WebhookRefused("The webhook's signature does not match")
    return message_id


def verify_fal(keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """The request id. `keys` are raw 32-byte Ed25519 public keys. Raises WebhookRefused."""
    found = lower(headers)
    parts = [
        _required(found, f"x-fal-webhook-{name}") for name in ("request-id", "user-id", "timestamp")
    ]
    _fresh(parts[2], now_s)
    message = "\n".join([*parts, hashlib.sha256(body).hexdigest()]).encode()
    try:
        signature = bytes.fromhex(_required(found, "x-fal-webhook-signature"))
    except ValueError as error:
        raise WebhookRefused("The webhook's signature is not hexadecimal") from error
    if not any(_ed25519(key, signature, message) for key in keys):
        raise WebhookRefused("The webhook's signature does not match")
    return parts[0]


def read_jwks(document: object) -> list[bytes]:
    """The raw Ed25519 keys of a JWKS document; what cannot be used is left out."""
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = [_jwk(key) for key in listed[:20]] if isinstance(listed, list) else []
    return [key for key in keys if key is not None]


def read_body(body: bytes) -> Any:
    """A webhook's JSON object. Raises WebhookRefused."""
    try:
        value = strict_json(body)
    except ValueError as error:
        raise WebhookRefused("The webhook's body is not JSON") from error
    if not isinstance(value, dict):
        raise WebhookRefused("The webhook's body is not an object")
    return value


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def is_secret(text: str) -> bool:
    """Whether a webhook secret to be stored can be one: behind `whsec_` stands base64."""
    if not text.startswith(STANDARD):
        return bool(text)
    coded = text.removeprefix(STANDARD).rstrip("=")
    try:
        return bool(base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True))
    except ValueError:
        return False


def _key(secret: str) -> bytes:
    if not secret:
        raise WebhookRefused("No webhook secret is stored for this platform")
    if not secret.startswith(STANDARD):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(STANDARD) + "==")
    except binascii.Error as error:
        raise WebhookRefused("The stored webhook secret is not base64") from error


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise WebhookRefused(f"The webhook has no header {name}")
    return value


def _fresh(text: str, now_s: float) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise WebhookRefused("The webhook's time is not a number")
    if abs(now_s - int(text)) > TOLERANCE_S:
        raise WebhookRefused("The webhook is too old or from the future")
    return int(text)


def _jwk(key: object) -> bytes | None:
    if not isinstance(key, dict) or key.get("kty") != "OKP" or key.get("crv") != "Ed25519":
        return None
    try:
        raw = base64.urlsafe_b64decode(str(key.get("x")) + "==")
    except (ValueError, binascii.Error):
        return None
    return raw if len(raw) == 32 else None


def _ed25519(key: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # 6 MB that most processes never need
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
