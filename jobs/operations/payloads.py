"""Giving a task that waits for its time another payload (S-11)."""

from typing import Any
from uuid import UUID

from django.db import transaction

from jobs.domain import ids
from jobs.domain.errors import IllegalTransition, TaskNotFound
from jobs.domain.states import State
from jobs.handlers.registry import handler
from jobs.models import Event
from jobs.operations.checks import check_json
from jobs.store import postgres, sealed


def change(task_id: UUID, payload: Any, *, actor: str, tenant_id: int = 1) -> None:
    """Change the payload of a scheduled task that never ran; its time, price and unique lock stay as they are.

    Raises TaskNotFound, IllegalTransition (any other state), and what a submit of the payload would raise.
    """
    text = check_json(payload)
    with transaction.atomic():
        rows = postgres.query(
            "SELECT t.state, t.runs, i.type FROM task t JOIN task_info i ON i.id = t.id"
            " WHERE t.id = %s AND t.tenant_id = %s FOR NO KEY UPDATE OF t",
            [task_id, tenant_id],
        )
        if not rows:
            raise TaskNotFound(task_id=ids.public_id(task_id))
        state, runs, type_ = rows[0]
        if state != State.SCHEDULED or runs:
            raise IllegalTransition(action="change the payload", state=State(state).wire)
        found = handler(type_)
        parsed = found.parse(payload)
        if found.check is not None:
            found.check(parsed, tenant_id)
        lane = found.lane_of(parsed)
        postgres.query(
            "WITH i AS (UPDATE task_info SET payload = %s::jsonb WHERE id = %s)"
            " UPDATE task SET lane = %s WHERE id = %s RETURNING 1",
            [sealed.close(text), task_id, int(lane), task_id],
        )
        Event.objects.create(task_id=task_id, kind="payload", actor=actor, detail={})
