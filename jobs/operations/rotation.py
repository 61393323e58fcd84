"""Everything sealed gets under the first key; payloads become sealed or plain as the setting now says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from jobs.domain.errors import Misconfigured
from jobs.store import postgres, sealed, secrets

BATCH = 500
_PASSES = 4
"""The last one only looks: it is the proof."""
_NAMED = 20

Renew = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A column with something sealed. `renew`: its text anew, None when it is right as it is."""

    table: str
    key: str
    column: str
    renew: Renew
    json: bool = True

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(kw_only=True, slots=True)
class Report:
    """`busy`: changed or locked by others meanwhile. `unreadable`: no present key opens them; some of their keys.

    `left`: what the last pass still found stale, and rows of the table that it did not come by.
    """

    place: str
    rows: int = 0
    changed: int = 0
    busy: int = 0
    unreadable: int = 0
    left: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return not self.busy and not self.unreadable and not self.left


def rotate(
    *, apply: bool, told: Callable[[Report], None] = lambda _report: None
) -> Iterator[Report]:
    """One report per place; `told` hears after each batch. Killed half-way it is simply begun again."""
    for place in _places():
        yield _rotated(place, told) if apply else _pass(place, False, told)


def _rotated(place: Place, told: Callable[[Report], None]) -> Report:
    """Passes until one comes by every row and finds nothing stale."""
    report, changed = Report(place=place.name), 0
    for nr in range(_PASSES):
        writes = nr < _PASSES - 1
        report = _pass(place, writes, told)
        report.left += report.changed
        changed += report.changed if writes else 0
        if not report.left and not report.busy:
            break
    report.changed = changed
    return report


def _pass(place: Place, apply: bool, told: Callable[[Report], None]) -> Report:
    report, last = Report(place=place.name), None
    while rows := _batch(place, last):
        last = rows[-1][0]
        changes = list(_renewed(place, rows, report))
        report.rows += len(rows)
        written = _write(place, changes) if apply and changes else len(changes)
        report.changed += written
        report.busy += len(changes) - written
        told(report)
    report.left = _missed(place, last, report.rows)
    return report


def _missed(place: Place, last: str | None, rows: int) -> int:
    """How many more than `rows` there are up to the key `last`: inserted behind our back, or never come by."""
    sql = (
        f"SELECT count(*) FROM {place.table} t"
        f" WHERE t.{place.column} IS NOT NULL AND t.{place.key} <= %s::{_type_of(place)}"
    )
    return max(0, int(postgres.query(sql, [last])[0][0]) - rows)


def _batch(place: Place, last: str | None) -> list[postgres.Row]:
    """The next rows in the order of their keys, as text; by key, so that nothing is read twice or left out."""
    beyond = "" if last is None else f" AND t.{place.key} > %(last)s::{_type_of(place)}"
    return postgres.query(  # ORDER BY without the "t." is by the column put out: numbers as text
        f"SELECT t.{place.key}::text, t.{place.column}::text FROM {place.table} t"
        f" WHERE t.{place.column} IS NOT NULL{beyond} ORDER BY t.{place.key} LIMIT {BATCH}",
        {"last": last},
    )


def _renewed(
    place: Place, rows: list[postgres.Row], report: Report
) -> Iterator[tuple[str, str, str]]:
    for key, old in rows:
        try:
            new = place.renew(old)
        except Misconfigured:
            report.unreadable += 1
            if len(report.examples) < _NAMED:
                report.examples.append(key)
            continue
        if new is not None:
            yield key, old, new


def _write(place: Place, changes: list[tuple[str, str, str]]) -> int:
    """How many were still as they were read; one short statement, nobody is waited for."""
    cast = "::jsonb" if place.json else ""
    rows = postgres.query(
        f"WITH n AS (SELECT * FROM unnest(%s::{_type_of(place)}[], %s::text[], %s::text[]) AS n(key, old, new)),"
        f" l AS MATERIALIZED (SELECT t.{place.key} AS key, n.new FROM {place.table} t JOIN n ON n.key = t.{place.key}"
        f" WHERE t.{place.column}::text = n.old ORDER BY t.{place.key} FOR NO KEY UPDATE OF t SKIP LOCKED)"
        f" UPDATE {place.table} t SET {place.column} = l.new{cast} FROM l WHERE t.{place.key} = l.key RETURNING 1",
        [[c[0] for c in changes], [c[1] for c in changes], [c[2] for c in changes]],
    )
    return len(rows)


def _places() -> list[Place]:
    return [
        Place(table="digest_key", key="id", column="sealed", renew=_token, json=False),
        Place(table="platform", key="id", column="credential_sealed", renew=_token, json=False),
        Place(table="platform", key="id", column="webhook_secret_sealed", renew=_token, json=False),
        Place(table="idempotency", key="key", column="answer", renew=_answer),
        Place(table="schedule", key="id", column="payload", renew=_document),
        Place(table="schedule", key="id", column="options", renew=_headers),
        Place(table="task_info", key="id", column="payload", renew=_document),
        Place(table="task_info", key="id", column="options", renew=_headers),
        Place(table="platform_task", key="task_id", column="answer", renew=_document),
        Place(table="task_run", key="id", column="result", renew=_document),
    ]


def _type_of(place: Place) -> str:
    types = {"task_info": "uuid", "platform_task": "uuid", "idempotency": "text"}
    return types.get(place.table, "bigint")


def _token(old: str) -> str | None:
    return None if secrets.is_fresh(old) else secrets.seal(secrets.unseal(old))


def _document(old: str) -> str | None:
    token = sealed.token_of(old)
    if token is None:
        return sealed.seal(old) if sealed.is_on() else None
    plain = secrets.unseal(token)
    if not sealed.is_wanted(plain):
        return plain
    return None if secrets.is_fresh(token) else sealed.seal(plain)


def _headers(old: str) -> str | None:
    options = msgspec.json.decode(old)
    if not options.get("headers"):
        return None
    new = _document(msgspec.json.encode(options["headers"]).decode())
    if new is None:
        return None
    return msgspec.json.encode({**options, "headers": msgspec.Raw(new.encode())}).decode()


def _answer(old: str) -> str | None:
    token = msgspec.json.decode(old).get("sealed", "")
    new = _token(token)
    return None if new is None else msgspec.json.encode({"sealed": new}).decode()
