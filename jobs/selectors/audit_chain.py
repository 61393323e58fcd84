"""The audit log's hash chain, verified from its first link on."""

from collections.abc import Iterator

import msgspec

from jobs.domain.audit_chain import START, hash_after
from jobs.domain.errors import Malformed
from jobs.store import postgres

CHUNK = 1000


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """`head`: `seq:hash` of the last link, worth keeping elsewhere. `waiting`: entries that get their link soon."""

    links: int
    head: str
    waiting: int
    problems: list[str]


def verify(known: str | None = None) -> Verified:
    """Read everything once. `known`: an earlier head that must still be in the chain. Raises Malformed."""
    seq, last, problems = 0, START, []
    wanted = _parsed(known)
    for number, entry_id, stored, text in _links():
        seq += 1
        if number != seq:
            problems.append(f"links {seq} to {number - 1} are missing")
            seq = number
        if text is None:
            problems.append(f"entry {entry_id} of link {number} is missing")
        elif hash_after(last, text) != stored:
            problems.append(f"entry {entry_id} or link {number} was changed")
        last = stored
        if wanted is not None and number == wanted[0] and stored != wanted[1]:
            problems.append(f"link {number} is not the one that was known")
    if wanted is not None and wanted[0] > seq:
        problems.append(f"the chain ends at {seq}, before the known link {wanted[0]}")
    problems += _outside()
    [(waiting,)] = postgres.query("SELECT count(*) FROM audit_unlinked")
    return Verified(links=seq, head=f"{seq}:{last}", waiting=waiting, problems=problems)


def _links() -> Iterator[tuple[int, int, str, str | None]]:
    last = 0
    while rows := postgres.query(
        "SELECT seq, entry_id, hash FROM audit_link WHERE seq > %s ORDER BY seq LIMIT %s",
        [last, CHUNK],
    ):
        texts: dict[int, str] = dict(
            postgres.fetch("audit_texts", {"ids": [row[1] for row in rows]})
        )
        for seq, entry_id, stored in rows:
            yield seq, entry_id, stored, texts.get(entry_id)
        last = rows[-1][0]


def _outside() -> list[str]:
    """Entries that no trigger has seen."""
    rows = postgres.query(
        "SELECT e.id FROM audit_entry e WHERE NOT EXISTS (SELECT FROM audit_link l WHERE l.entry_id = e.id)"
        " AND NOT EXISTS (SELECT FROM audit_unlinked u WHERE u.entry_id = e.id) ORDER BY e.id LIMIT 20"
    )
    return [f"entry {row[0]} is outside the chain" for row in rows]


def _parsed(known: str | None) -> tuple[int, str] | None:
    if known is None:
        return None
    seq, _, hash_ = known.partition(":")
    if not seq.isdecimal() or len(hash_) != 64:
        raise Malformed("A head is `seq:hash`, as this command prints it", field="head")
    return int(seq), hash_
