"""Old task ids of migrated tasks."""

from uuid import UUID

from jobs.domain import ids
from jobs.domain.errors import Conflict, TaskNotFound
from jobs.store import postgres


def resolve(alias: str, tenant_id: int = 1) -> UUID:
    """The one task with this old id. Raises TaskNotFound, Conflict with the candidates when several have it."""
    rows = postgres.query(
        "SELECT t.id FROM migrated_row m JOIN task t ON t.id = m.task_id"
        " WHERE m.alias = %s AND t.tenant_id = %s ORDER BY t.id LIMIT 20",
        [alias, tenant_id],
    )
    if not rows:
        raise TaskNotFound(task_id=alias)
    if len(rows) > 1:
        raise Conflict(
            f"{len(rows)} migrated tasks have the old id {alias!r}; use one of their own ids",
            candidates=[ids.public_id(row[0]) for row in rows],
        )
    return UUID(str(rows[0][0]))
