"""Old task ids of migrated tasks."""

from uuid import UUID

from jobs.domain import ids
from jobs.domain.errors import Conflict, TaskNotFound
from jobs.store import postgres


def identify(any_id: str, tenant_id: int = 1) -> UUID:
    """The id behind whatever a caller calls a task: ours, a job id, the caller's own name, an older system's id.

    An unknown name comes back as an id that no task has. Raises Conflict for an old id that several tasks have.
    """
    found = ids.parse_id(any_id, tenant_id)
    name = ids.task_part(any_id)
    if found != ids.custom_id(tenant_id, name):
        return found
    if not name.isprintable():
        return found
    if postgres.query("SELECT 1 FROM task WHERE id = %s", [found]):
        return found
    try:
        return resolve(name, tenant_id)
    except TaskNotFound:
        return found


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
            "%(count)s migrated tasks have the old id '%(alias)s'; use one of their own ids",
            count=len(rows),
            alias=alias,
            candidates=[ids.public_id(row[0]) for row in rows],
        )
    return UUID(str(rows[0][0]))
