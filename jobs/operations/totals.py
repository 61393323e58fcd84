"""What a parent's shards have done together: its result, for the types that know how to sum it up."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog
from django.db import transaction

from jobs.domain.outcomes import Kind
from jobs.handlers.registry import totals
from jobs.store import postgres, sealed

log = structlog.get_logger("totals")


def keep(parents: Sequence[str]) -> None:
    """Write the results of parents about to succeed, in the transaction of their end; callbacks bring them along."""
    known = totals()
    if not known or not parents:
        return
    rows = postgres.query(
        "SELECT t.id::text, i.type FROM task t JOIN task_info i USING (id)"
        " WHERE t.id = ANY(%s::uuid[]) AND t.state = 7 AND i.type = ANY(%s)"
        " ORDER BY t.id FOR NO KEY UPDATE OF t",
        [list(parents), list(known)],
    )
    for id_, type_ in rows:
        try:
            with transaction.atomic():
                result = known[type_](UUID(id_))
                _write(id_, msgspec.json.encode(result).decode())
        except Exception as error:  # a wrong sum must not keep the shard from its end
            log.error("no total of the shards", task_id=id_, type=type_, error=str(error))


def _write(id_: str, result: str) -> None:
    postgres.query(
        "INSERT INTO task_run (task_id, token, run, kind, ended_at, result)"
        " SELECT id, token, runs, %s, clock_timestamp(), %s::jsonb FROM task WHERE id = %s::uuid"
        " RETURNING 1",
        [int(Kind.SUCCEEDED), sealed.close(result), id_],
    )
