"""A request that changes something, carried out once for its idempotency key; repeats get the first answer.

The answer is sealed (it may hold a new key) and kept for at least 72 h like all idempotency keys.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from django.db import OperationalError, transaction

from jobs.domain.errors import Conflict, IdempotencyMismatch
from jobs.store import postgres, sealed, secrets

ABANDONED_S = 60


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered; `body` as text."""

    status: int
    body: str
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Once:
    """`what`: method and path; `asked`: what must be the same in a repeat; `whole`: one transaction around it all."""

    tenant_id: int
    what: str
    key: str
    asked: bytes
    whole: bool

    @property
    def row_key(self) -> str:
        """Apart from the keys of tasks (`tenant:key`), whatever a caller chooses."""
        digest = hashlib.sha256(f"{self.what}\0{self.key}".encode()).hexdigest()
        return f"{self.tenant_id}@{digest}"

    @property
    def body_hash(self) -> str:
        return sealed.digest(self.asked)


def once(request: Once, act: Callable[[], Answer]) -> tuple[Answer, bool]:
    """(answer, whether it is a repeat). An error of `act` gives the key back.

    With `whole` the key, the change and the answer are one transaction. Without it the key is taken first; a claim
    that is left without an answer is taken over after a minute. Raises IdempotencyMismatch, Conflict (in work).
    """
    if request.whole:
        with transaction.atomic():
            return _take_and_act(request, act)
    found = _take(request)
    if found is not None:
        return found, True
    try:
        answer = act()
    except BaseException:
        _release(request)
        raise
    _keep(request, answer)
    return answer, False


def _take_and_act(request: Once, act: Callable[[], Answer]) -> tuple[Answer, bool]:
    found = _take(request)
    if found is not None:
        return found, True
    answer = act()
    _keep(request, answer)
    return answer, False


def _take(request: Once) -> Answer | None:
    """None: the key is ours. A claim of a running transaction is waited for, as long as the lock timeout allows."""
    try:
        taken = postgres.query(
            "INSERT INTO idempotency AS i (key, body_hash) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE"
            " SET created_at = clock_timestamp() WHERE i.answer IS NULL AND i.body_hash = excluded.body_hash"
            " AND i.created_at < clock_timestamp() - %s * interval '1 second' RETURNING 1",
            [request.row_key, request.body_hash, ABANDONED_S],
        )
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == "55P03":
            raise _in_work() from error
        raise
    if taken:
        return None
    rows = postgres.query(
        "SELECT body_hash, answer->>'sealed' FROM idempotency WHERE key = %s", [request.row_key]
    )
    if not rows:
        raise _in_work()  # given back a moment ago
    [(body_hash, token)] = rows
    if body_hash != request.body_hash:
        raise IdempotencyMismatch(key=request.key)
    if token is None:
        raise _in_work()
    return msgspec.json.decode(secrets.unseal(token), type=Answer)


def _keep(request: Once, answer: Answer) -> None:
    token = secrets.seal(msgspec.json.encode(answer).decode())
    postgres.query(
        "UPDATE idempotency SET answer = jsonb_build_object('sealed', %s::text) WHERE key = %s RETURNING 1",
        [token, request.row_key],
    )


def _release(request: Once) -> None:
    postgres.query(
        "DELETE FROM idempotency WHERE key = %s AND answer IS NULL RETURNING 1", [request.row_key]
    )


def _in_work() -> Conflict:
    return Conflict("The first request with this idempotency key is still being answered")
