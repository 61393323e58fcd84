"""What becomes of one source row: pure, but for the clock that is given."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain.states import ENDED_STATUSES, Status
from jobs.operations.migration import clean
from jobs.operations.migration.clean import Notes
from jobs.operations.migration.mapping import JSON_BYTES, SHORT_BYTES, TEXT_BYTES, Mapping

MAX_CREDITS = 10**12
_MAX_USER = 2**63 - 1
_ID_CHARS = 512
_ALIAS_CHARS = 191
_LABEL_CHARS = 40
_YEAR_2100_S = 4_102_444_800
_MASK = "********"
_SHORTEST_SECRET = 6


class Action(StrEnum):
    """The report's words."""

    ENQUEUE = "enqueue"
    SKIP_TERMINAL = "skip_terminal"
    FAIL_REFUND = "fail_refund"
    LEAVE_NOT_STARTED = "leave_not_started"
    UNKNOWN_PLATFORM = "report_unknown_platform"
    UNKNOWN_STATUS = "report_unknown_status"
    SKIP_DUPLICATE = "skip_duplicate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What is to happen, from platform and status alone; both as the totals name them."""

    action: Action
    reason: str
    platform: str
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTask:
    """A row's task. `spread` in [0, 1) places its first poll; `error` says why it ends as FAILURE at once."""

    key: str
    id: UUID
    status: Status
    platform: str
    user_id: int | None
    credits: int
    alias: str | None
    external_id: str | None
    raw_status: str
    progress: int
    created_at: datetime
    started_at: datetime
    submitted_at: datetime
    polled_at: datetime
    spread: float
    payload_json: str
    urls_json: str
    action: Action
    reason: str
    error: str | None


class Row:
    """A source row's columns as they came; JSON columns that are looked into are read once."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.get = values.get
        self._parsed: dict[str, Any] = {}

    def look_up(self, path: str) -> object:
        """The value at `column` or `column.json.path`, None where there is none."""
        column, *steps = path.split(".")
        if not steps:
            return self.get(column)
        if column not in self._parsed:
            self._parsed[column] = clean.parsed(self.get(column))
        value = self._parsed[column]
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def unreadable(self, path: str) -> bool:
        """Whether there is something in the path's JSON column that is no JSON."""
        column = path.partition(".")[0]
        return column in self._parsed and self._parsed[column] is None and bool(self.get(column))


class Reader:
    """Reads rows of one source by its mapping, as of one moment."""

    def __init__(self, mapping: Mapping, table: str, *, now: datetime, not_started: bool) -> None:
        self._map = mapping
        self._table = table
        self._now = now
        self._not_started = not_started

    def key(self, source_id: int) -> str:
        return f"{self._map.name}:{self._table}:{source_id}"

    def fate(self, row: Row) -> Fate:
        """Ended rows first, then what cannot be understood, then what is left alone."""
        notes, columns = Notes(), self._map.columns
        given = clean.text(row.get(columns.status), "status", SHORT_BYTES, notes) or ""
        word = given.strip().upper()
        code = clean.text(row.get(columns.platform), "platform", SHORT_BYTES, notes) or ""
        code = code.strip().lower()
        status = Status.EMPTY if word == "" else self._map.status(word)
        platform = self._map.platform(code)
        action, reason = self._action(status, word, platform, code)
        shown = platform or _label(code)
        return Fate(action=action, reason=reason, platform=shown, status=_label(word))

    def _action(
        self, status: Status | None, word: str, platform: str | None, code: str
    ) -> tuple[Action, str]:
        if status in ENDED_STATUSES:
            return Action.SKIP_TERMINAL, f"ended as {word}"
        if platform is None:
            return Action.UNKNOWN_PLATFORM, f"platform {_label(code)!r} is not in the mapping"
        if status is None:
            return Action.UNKNOWN_STATUS, f"status {_label(word)!r} is not in the mapping"
        if status is Status.NOT_START and not self._not_started:
            return Action.LEAVE_NOT_STARTED, "NOT_START is left alone"
        if status is Status.EMPTY:
            return Action.FAIL_REFUND, "the status is empty"
        return Action.ENQUEUE, f"unfinished: {word}"

    def digest(self, row: Row, platform: str) -> bytes | None:
        """What makes two rows the same external job: platform, channel and external id; None without an id."""
        external = self._external_id(row, Notes())
        if external is None:
            return None
        channel = clean.text(row.get(self._map.columns.channel), "", SHORT_BYTES, Notes())
        whole = msgspec.json.encode([platform, (channel or "").strip(), external])
        return hashlib.blake2b(whole, digest_size=16).digest()

    def task(self, source_id: int, row: Row, fate: Fate) -> NewTask:
        """The task for a row whose fate is ENQUEUE or FAIL_REFUND; without an external id it has failed."""
        notes, columns, key = Notes(), self._map.columns, self.key(source_id)
        external = self._external_id(row, notes)
        user, credits = self._money(row, notes)
        created_s = clean.unix_s(row.get(columns.created_at), "created_at", notes)
        created, at = self._times(row, created_s, notes)
        hashed = hashlib.sha256(key.encode()).digest()
        failed = fate.action is Action.FAIL_REFUND or external is None
        reason = fate.reason if external is not None else "there is no external id"
        return NewTask(
            key=key,
            id=_id(created_s, hashed),
            status=self._map.status(fate.status) or Status.NOT_START,
            platform=fate.platform,
            user_id=user,
            credits=credits,
            alias=clean.text(row.get(columns.alias), "task_id", _ALIAS_CHARS, notes) or None,
            external_id=external,
            raw_status=fate.status,
            progress=clean.percent(row.get(columns.progress)) or 0,
            created_at=created,
            started_at=at["started_at"],
            submitted_at=at["submitted_at"],
            polled_at=at["updated_at"],
            spread=int.from_bytes(hashed[16:20], "big") / 2**32,
            payload_json=self._payload(key, row, notes),
            urls_json=self._urls(row, fate.platform, external),
            error=self._error(row, reason, notes) if failed else None,
            action=Action.FAIL_REFUND if failed else Action.ENQUEUE,
            reason="; ".join([reason, *notes]),
        )

    def _urls(self, row: Row, platform: str, external: str | None) -> str:
        action = clean.text(row.get(self._map.columns.action), "action", SHORT_BYTES, Notes()) or ""
        return msgspec.json.encode(
            self._map.urls(platform, action.strip().lower(), external)
        ).decode()

    def _times(
        self, row: Row, created_s: float | None, notes: Notes
    ) -> tuple[datetime, dict[str, datetime]]:
        """When the row was made, and its other times; one that is missing or in the future is that of its making."""
        now_s = self._now.timestamp()
        found: dict[str, datetime | None] = {}
        for name in ("updated_at", "submitted_at", "started_at"):
            at_s = clean.unix_s(row.get(getattr(self._map.columns, name)), name, notes)
            found[name] = clean.moment(at_s, now_s)
        earliest = min((at for at in found.values() if at), default=self._now)
        created = clean.moment(created_s, now_s) or earliest
        return created, {name: at or created for name, at in found.items()}

    def _external_id(self, row: Row, notes: Notes) -> str | None:
        for path in self._map.external_id:
            value = row.look_up(path)
            if value is None:
                if row.unreadable(path):
                    notes.add(f"{path.partition('.')[0]}: not readable as JSON")
                continue
            found = ""
            if not isinstance(value, bool | dict | list | float):
                found = (clean.text(value, path, _ID_CHARS + 1, notes) or "").strip()
            if found and len(found) <= _ID_CHARS:
                return found
            if found or not isinstance(value, str | bytes):
                notes.add(f"{path}: not usable as an id")
        return None

    def _money(self, row: Row, notes: Notes) -> tuple[int | None, int]:
        columns = self._map.columns
        user = clean.whole(row.get(columns.user), "user_id", notes)
        quota = clean.whole(row.get(columns.quota), "quota", notes) or 0
        if not 0 <= quota <= MAX_CREDITS:
            notes.add(f"quota {'negative' if quota < 0 else 'too large'}, taken as 0")
            quota = 0
        if user is None or not 0 < user <= _MAX_USER:
            if quota:
                notes.add("no user: nothing can be refunded")
            return None, 0
        return user, quota

    def _error(self, row: Row, reason: str, notes: Notes) -> str:
        said = self._blotted(row, self._map.columns.fail_reason)
        words = clean.text(said, "fail_reason", TEXT_BYTES, notes)
        return f"migration: {reason}; {words}" if words else f"migration: {reason}"

    def _payload(self, key: str, row: Row, notes: Notes) -> str:
        kept: dict[str, Any] = {"migrated_from": key}
        for name in self._map.payload_texts:
            kept[name] = clean.text(self._blotted(row, name), name, SHORT_BYTES, notes)
        for name in self._map.payload_json:
            kept[name] = clean.json_value(self._blotted(row, name), name, JSON_BYTES, notes)
        return msgspec.json.encode({k: v for k, v in kept.items() if v is not None}).decode()

    def _blotted(self, row: Row, column: str) -> object:
        """The column without the row's credentials, should one have slipped in."""
        value = row.get(column)
        for path in self._map.secrets:
            secret = row.look_up(path)
            if (
                isinstance(value, bytes)
                and isinstance(secret, str)
                and len(secret) >= _SHORTEST_SECRET
            ):
                value = value.replace(secret.encode("utf-8", "replace"), _MASK.encode())
        return value


def _label(word: str) -> str:
    """A word of the source fit for terminals and logs."""
    return "".join(c if c.isprintable() else "\ufffd" for c in word[:_LABEL_CHARS])


def _id(created_s: float | None, hashed: bytes) -> UUID:
    """A UUIDv7 that is the same at every look at the row: its time is the row's, its random part the key's hash."""
    ms = int(created_s * 1000) if created_s and created_s < _YEAR_2100_S else 0
    rand = int.from_bytes(hashed[:10], "big")
    value = ms << 80 | 0x7 << 76 | (rand >> 68) << 64 | 0b10 << 62 | rand & (1 << 62) - 1
    return UUID(int=value)
