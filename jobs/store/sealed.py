"""JSON at rest: with TASKCENTER_ENCRYPT_PAYLOADS a stored document is `{"$enc": "<Fernet token>"}`.

What has that shape is always sealed: a document of a caller that merely looks like it is sealed in any case.
"""

import functools
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from django.conf import settings

from jobs.domain.errors import Misconfigured
from jobs.store import postgres, secrets

MARK = "$enc"
_LIKE = '{"$enc":'
_UNREADABLE = "(sealed; no present key opens it)"


def is_on() -> bool:
    return bool(settings.TASKCENTER["ENCRYPT_PAYLOADS"])


def close(text: str) -> str:
    """Compact JSON text as it is to be stored."""
    return seal(text) if is_wanted(text) else text


def is_wanted(text: str) -> bool:
    """Whether this JSON text is to be sealed."""
    return is_on() or text.startswith(_LIKE)


def seal(text: str) -> str:
    return msgspec.json.encode({MARK: secrets.seal(text)}).decode()


def opened(text: str) -> str:
    """The JSON text behind a stored one. Raises Misconfigured when no key opens it."""
    token = token_of(text)
    return text if token is None else secrets.unseal(token)


def shown(text: str) -> str:
    """The same for a page of many: what no key opens says so in its place."""
    try:
        return opened(text)
    except Misconfigured:
        return msgspec.json.encode(_UNREADABLE).decode()


def close_value(value: Any) -> Any:
    """The same for values that go through the ORM or lie inside another document."""
    return msgspec.json.decode(close(msgspec.json.encode(value).decode()))


def opened_value(value: Any) -> Any:
    """Raises Misconfigured when no key opens it."""
    return msgspec.json.decode(secrets.unseal(value[MARK])) if _is_sealed(value) else value


def shown_value(value: Any) -> Any:
    try:
        return opened_value(value)
    except Misconfigured:
        return _UNREADABLE


def headers(options_json: str) -> dict[str, str]:
    """The headers among a task's stored options. Raises Misconfigured."""
    if options_json == "{}":
        return {}
    return opened_value(msgspec.json.decode(options_json).get("headers") or {})  # type: ignore[no-any-return]


def close_headers(options: Mapping[str, Any]) -> dict[str, Any]:
    """A submit's options as they are to be stored: their headers sealed."""
    return _with_headers(options, close_value)


def opened_headers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Misconfigured when no key opens them."""
    return _with_headers(options, opened_value)


def shown_headers(options: Mapping[str, Any]) -> dict[str, Any]:
    return _with_headers(options, shown_value)


def _with_headers(options: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    found = dict(options)
    return found | {"headers": change(found["headers"])} if found.get("headers") else found


def token_of(text: str) -> str | None:
    """The token if this is a sealed document; `text` as PostgreSQL or we write it."""
    if not text.startswith(_LIKE):
        return None
    value = msgspec.json.decode(text)
    return value[MARK] if _is_sealed(value) else None


def digest(basis: bytes) -> str:
    """What recognises the same body again. With encryption it is keyed: a guessed body cannot be tried out on it."""
    if not is_on():
        return hashlib.sha256(basis).hexdigest()
    return hmac.new(_digest_key(), basis, hashlib.sha256).hexdigest()


@functools.cache
def _digest_key() -> bytes:
    """Kept sealed in the database, so that it outlives a change of keys."""
    rows = postgres.query("SELECT sealed FROM digest_key WHERE id = 1")
    if not rows:
        raise Misconfigured("The table digest_key is empty: run `manage.py migrate`")
    return secrets.unseal(rows[0][0]).encode()


def _is_sealed(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(MARK), str)
