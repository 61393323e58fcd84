"""New audit entries get their place in the hash chain, a second after their commit at the latest."""

import structlog
from django.db import transaction

from jobs.domain.audit_chain import START, hash_after
from jobs.store import postgres

log = structlog.get_logger("audit")

BATCH = 500


def link() -> int:
    """Append one batch; returns how many. The head goes to the log: a copy that no database user can change."""
    with transaction.atomic():
        rows = postgres.query(
            "DELETE FROM audit_unlinked WHERE entry_id IN (SELECT entry_id FROM audit_unlinked"
            " ORDER BY entry_id LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING entry_id",
            [BATCH],
        )
        if not rows:
            return 0
        seq, last = _head()
        links = []
        for entry_id, text in postgres.fetch("audit_texts", {"ids": [row[0] for row in rows]}):
            seq, last = seq + 1, hash_after(last, text)
            links.append((seq, entry_id, last))
        postgres.query(
            "INSERT INTO audit_link (seq, entry_id, hash)"
            " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) RETURNING 1",
            [[one[n] for one in links] for n in range(3)],
        )
    log.info("audit chain", head=f"{seq}:{last}", entries=len(links))
    return len(links)


def _head() -> tuple[int, str]:
    """Two linkers at once would both find this one: the primary key lets one of them commit."""
    rows = postgres.query("SELECT seq, hash FROM audit_link ORDER BY seq DESC LIMIT 1")
    return (rows[0][0], rows[0][1]) if rows else (0, START)
