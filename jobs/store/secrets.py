"""Sealed credentials: Fernet with key rotation; the first key seals, all of them open."""

import functools
import hashlib
from typing import TYPE_CHECKING

from django.conf import settings

from jobs.domain.errors import Misconfigured

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


@functools.lru_cache(maxsize=16)
def _fernet(keys: tuple[str, ...]) -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet  # 6 MB that most processes never need

    return MultiFernet([Fernet(key) for key in keys])


def _keys() -> tuple[str, ...]:
    return tuple(settings.TASKCENTER["SECRET_KEYS"])


def seal(text: str) -> str:
    """The text as a sealed token; an empty text stays empty."""
    return _fernet(_keys()).encrypt(text.encode()).decode() if text else ""


def unseal(token: str) -> str:
    """The text behind a token. Raises Misconfigured when no key opens it."""
    found = _opened(token, _keys())
    if found is None:
        raise Misconfigured("A stored secret cannot be opened with the present keys")
    return found


def is_fresh(token: str) -> bool:
    """Whether the first key opens it, so that the others may go."""
    return _opened(token, _keys()[:1]) is not None


def key_ids() -> list[str]:
    """What tells the present keys apart, and gives nothing of them away."""
    return [_key_id(key) for key in _keys()]


def opener(token: str) -> str | None:
    """The id of the present key that opens it, None if none does."""
    return next((_key_id(key) for key in _keys() if _opened(token, (key,)) is not None), None)


def _key_id(key: str) -> str:
    return hashlib.sha256(f"taskcenter.key-id:{key}".encode()).hexdigest()[:8]


def _opened(token: str, keys: tuple[str, ...]) -> str | None:
    if not token:
        return ""
    from cryptography.fernet import InvalidToken

    try:
        return _fernet(keys).decrypt(token.encode()).decode()
    except InvalidToken:
        return None
