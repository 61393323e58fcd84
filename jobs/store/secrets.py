"""Sealed credentials: Fernet with key rotation; the first key seals, all of them open."""

import functools
from typing import TYPE_CHECKING

from django.conf import settings

from jobs.domain.errors import Misconfigured

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


@functools.cache
def _fernet() -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet  # 6 MB that most processes never need

    return MultiFernet([Fernet(key) for key in settings.TASKCENTER["SECRET_KEYS"]])


def seal(text: str) -> str:
    """The text as a sealed token; an empty text stays empty."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def unseal(token: str) -> str:
    """The text behind a token. Raises Misconfigured when no key opens it."""
    if not token:
        return ""
    from cryptography.fernet import InvalidToken

    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise Misconfigured("A stored credential cannot be opened with the present keys") from error
