"""Whether what is stored sealed can be opened with the present keys, here and in every living worker."""

import time

import msgspec
import structlog
from django.db import DatabaseError, transaction

from jobs.store import postgres, sealed, secrets

log = structlog.get_logger("secrets")

_EVERY_S = 10.0
_PLATFORMS, _DOCUMENTS = 200, 20
_SAMPLE = " UNION ".join(  # no condition on documents: where nothing is sealed all would be read
    f"(SELECT {what} FROM {source} ORDER BY id {order} LIMIT {most})"
    for what, source, most in (
        ("credential_sealed", "platform WHERE credential_sealed <> ''", _PLATFORMS),
        ("webhook_secret_sealed", "platform WHERE webhook_secret_sealed <> ''", _PLATFORMS),
        ("payload ->> '$enc'", "schedule", _DOCUMENTS),
        ("payload ->> '$enc'", "task_info", _DOCUMENTS),
    )
    for order in ("ASC", "DESC")
)
_WORKERS = "SELECT stats ->> 'keys' FROM worker WHERE dead_at IS NULL AND stats ? 'keys' ORDER BY id DESC LIMIT 1000"


class Unopened(msgspec.Struct, frozen=True, kw_only=True):
    """Of `looked_at` stored secrets: what no key opens `here`, and in the worker that opens fewest."""

    looked_at: int
    here: int
    in_worker: int

    @property
    def count(self) -> int:
        return max(self.here, self.in_worker)

    @property
    def all_lost(self) -> bool:
        """Whether this process opens nothing: its keys are others'."""
        return 0 < self.looked_at == self.here


_kept: tuple[float, Unopened | None] | None = None


def unopened() -> Unopened | None:
    """A look at platforms' credentials and the oldest and newest documents, at most 10 s old.

    None: there was no answer. For those who see all tenants.
    """
    global _kept
    now_s = time.monotonic()
    if _kept is None or now_s - _kept[0] > _EVERY_S:
        _kept = (now_s, _asked())
    return _kept[1]


def forget() -> None:
    """Look anew at the next question (tests)."""
    global _kept
    _kept = None


def _asked() -> Unopened | None:
    """In a moment or not at all: probes ask, and a table may be locked."""
    try:
        with transaction.atomic():
            postgres.query("SELECT set_config('statement_timeout', '500ms', true)")
            return _look()
    except DatabaseError as error:
        log.warning("secrets not looked at", error=str(error).strip())
        return None


def _look() -> Unopened:
    tokens = [row[0] for row in postgres.query(_SAMPLE) if row[0]]
    if sealed.is_on():
        tokens += [row[0] for row in postgres.query("SELECT sealed FROM digest_key")]
    openers = [secrets.opener(token) for token in tokens]
    needed = [key for key in openers if key is not None]
    worst = 0
    for (text,) in postgres.query(_WORKERS):
        keys = set(msgspec.json.decode(text, type=list[str]))
        worst = max(worst, sum(key not in keys for key in needed))
    return Unopened(looked_at=len(tokens), here=openers.count(None), in_worker=worst)
