"""Who calls: `Authorization: Bearer <key>` and nothing else; cookies and sessions do not count here."""

import hashlib
import threading
import time
from collections import OrderedDict
from typing import NoReturn

from django.conf import settings
from django.http import HttpRequest

from jobs.domain.errors import Forbidden, Unauthenticated
from jobs.operations import keys
from jobs.operations.keys import Caller
from queues_admin.api import guessing

_KEPT_S = 4.0  # a revoked key is refused within 5 s
_KEPT = 1024

_lock = threading.Lock()
_known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()


def caller_of(request: HttpRequest) -> Caller:
    """Raises Unauthenticated, with the same text whatever is wrong with the key; RateLimited for guessing."""
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated()
    if len(token) > 256 or not token.isascii():
        return _wrong(request)
    digest = hashlib.sha256(token.encode()).digest()
    kept = _known.get(digest)
    if kept is not None and time.monotonic() < kept[0]:
        return kept[1]
    if kept is None:  # a key that was good a moment ago is no guess
        guessing.refuse_if_blocked(address(request))
    caller = None if "\x00" in token else keys.authenticate(token)
    if caller is None:
        with _lock:
            _known.pop(digest, None)
        return _wrong(request)
    with _lock:
        _known[digest] = (time.monotonic() + _KEPT_S, caller)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return caller


def _wrong(request: HttpRequest) -> NoReturn:
    guessing.failed(address(request))
    raise Unauthenticated()


def forget() -> None:
    """Ask the database again for every key (after a revocation, and between tests)."""
    with _lock:
        _known.clear()


def require(caller: Caller, scope: str) -> None:
    """Raises Forbidden. `admin` implies every scope."""
    if scope not in caller.scopes and "admin" not in caller.scopes:
        raise Forbidden("This needs a key with scope %(scope)s", scope=scope)


def refuse_if_readonly() -> None:
    """Raises Forbidden while ASYNQ_READONLY is on."""
    if settings.ASYNQ_READONLY:
        raise Forbidden("Changes are switched off (ASYNQ_READONLY)", readonly=True)


def address(request: HttpRequest) -> str:
    """The caller's address; X-Forwarded-For counts only as deep as there are trusted proxies."""
    hops: int = settings.TASKCENTER.get("TRUSTED_PROXIES", 0)
    chain = [
        part.strip()
        for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if part.strip()
    ]
    if hops and len(chain) >= hops:
        return str(chain[-hops])
    return str(request.META.get("REMOTE_ADDR", ""))
