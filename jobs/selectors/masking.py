"""Hiding what nobody but its owner should read."""

from typing import Any

MASK = "********"
_WORDS = (
    "password",
    "passwd",
    "token",
    "secret",
    "authorization",
    "apikey",
    "credential",
    "cookie",
    "passphrase",
    "privatekey",
    "accesskey",
)


def masked(value: Any) -> Any:
    """The value with everything masked whose key sounds like a secret, at any depth."""
    if isinstance(value, dict):
        return {key: MASK if _secret(key) else masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value


def _secret(key: object) -> bool:
    name = str(key).lower().replace("-", "").replace("_", "")
    return any(word in name for word in _WORDS)
