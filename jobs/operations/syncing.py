"""Copying a table piece by piece: a piece and the place after it are one statement, so a crash repeats one at most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain.errors import Misconfigured, TooLarge
from jobs.operations.migration.sources import open_source
from jobs.operations.sync_sources import SyncSource, named
from jobs.store import postgres

MOST_ROW_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What one call did; `finished`: there was nothing beyond its last piece."""

    rows: int
    changed: int
    finished: bool


@dataclass(frozen=True, slots=True)
class _Place:
    version: int
    position: list[Any] | None
    caught_up: bool


def copy(name: str, *, most_batches: int, stop: Callable[[], bool]) -> Copied:
    """Go on from where the last copy of this source came to, for so many pieces at most.

    Raises Invalid (no such source), Misconfigured, Unavailable, TooLarge (one row). The source is never written to.
    """
    spec = named(name)
    rows = changed = 0
    place = _place(name)
    after = _rewound(spec, place)
    with open_source(spec.address(), spec.table) as source:
        source.in_utc()
        columns = spec.columns or sorted(source.columns())
        for _ in range(most_batches):
            if stop():
                break
            found = source.changed((spec.watermark, spec.key), columns, after, spec.batch)
            finished = len(found) < spec.batch
            last = [_marked(spec, value) for value in found[-1][:2]] if found else place.position
            written = _write(name, place, last, finished, _pieces(spec, columns, found))
            if written is None:  # another run has gone on meanwhile: from its place, then
                place = _place(name)
                after = place.position
                continue
            rows, changed = rows + len(found), changed + written
            place = _Place(place.version + 1, last, finished)
            after = last
            if finished:
                return Copied(rows=rows, changed=changed, finished=True)
    return Copied(rows=rows, changed=changed, finished=False)


def _place(name: str) -> _Place:
    postgres.query(
        "INSERT INTO sync_position (name, version, rows, caught_up) VALUES (%s, 0, 0, false)"
        " ON CONFLICT (name) DO NOTHING RETURNING 1",
        [name],
    )
    [(version, position, caught_up)] = postgres.query(
        "SELECT version, position::text, caught_up FROM sync_position WHERE name = %s", [name]
    )
    return _Place(version, msgspec.json.decode(position) if position else None, caught_up)


def _rewound(spec: SyncSource, place: _Place) -> list[Any] | None:
    """The place to read from: after a copy that was complete, the overlap is read once more."""
    if place.position is None or not place.caught_up or not spec.overlap:
        return place.position
    mark, key = place.position
    if isinstance(mark, int):
        return [mark - int(spec.overlap), key]
    try:
        earlier = datetime.fromisoformat(mark) - timedelta(seconds=spec.overlap)
    except ValueError as error:
        raise Misconfigured(
            f"{spec.table}.{spec.watermark} is neither a number nor a time: it can have no overlap"
        ) from error
    return [earlier.isoformat(sep=mark[10:11] or "T"), key]  # text is compared as it is written


def _marked(spec: SyncSource, value: Any) -> Any:
    """A watermark or key as it is kept and compared: a whole number or text."""
    kept = _plain(value)
    if isinstance(kept, bool) or not isinstance(kept, int | str):
        raise Misconfigured(
            f"{spec.table}: watermark and key are whole numbers, times or text, not {kept!r}"
        )
    return kept


def _pieces(spec: SyncSource, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """(keys, watermarks, JSON objects) of a piece."""
    keys, marks, objects = [], [], []
    for mark, key, *values in rows:
        keys.append(str(_marked(spec, key)))
        marks.append(str(_marked(spec, mark)))
        text = msgspec.json.encode(dict(zip(columns, map(_plain, values), strict=True)))
        if len(text) > MOST_ROW_BYTES:
            raise TooLarge(
                "Row %(key)s of %(table)s has %(bytes)s bytes: leave out columns of it",
                key=keys[-1],
                table=spec.table,
                bytes=len(text),
                limit_bytes=MOST_ROW_BYTES,
            )
        objects.append(text.decode())
    return keys, marks, objects


def _write(name: str, place: _Place, last: Any, finished: bool, pieces: Any) -> int | None:
    """How many rows are new or changed; None when the place was no longer this run's."""
    keys, marks, objects = pieces
    [(moved, changed)] = postgres.fetch(
        "sync_write",
        {
            "name": name,
            "version": place.version,
            "position": None if last is None else msgspec.json.encode(last).decode(),
            "caught_up": finished,
            "keys": keys,
            "marks": marks,
            "objects": objects,
        },
    )
    return changed if moved else None


def _plain(value: Any) -> Any:
    """A driver's value as JSON has it; bytes that are no text as base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        try:
            return raw.decode().replace("\0", "\ufffd")
        except UnicodeDecodeError:
            return {"base64": raw}
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
