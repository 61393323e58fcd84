"""`callback_url`: one POST when a task ends, delivered as a task of its own."""

from collections.abc import Sequence

import msgspec

from jobs.domain import ids
from jobs.domain.headers import is_ours
from jobs.domain.states import State, Status
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many, submit_request
from jobs.store import postgres, sealed

_BATCH = 500


def submit_callbacks(task_ids: Sequence[str]) -> None:
    """Submit `http:callback` tasks for ended tasks, in the transaction of their end (at least once by construction).

    They are their tenants' own, and signed with their secrets.
    """
    for start in range(0, len(task_ids), _BATCH):
        rows = postgres.fetch("task_callback", {"ids": list(task_ids[start : start + _BATCH])})
        for tenant_id in sorted({row[-1] for row in rows}):
            _submit([row[:-1] for row in rows if row[-1] == tenant_id], tenant_id)


def _submit(rows: Sequence[postgres.Row], tenant_id: int) -> None:
    results = submit_many([_request(row) for row in rows], tenant_id=tenant_id, limited=False)
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, Refused):
            submit_request(_request(row, with_result=False), tenant_id=tenant_id, limited=False)


def _request(row: postgres.Row, *, with_result: bool = True) -> TaskRequest:
    """`with_result=False`: a result too large for a callback is left out; the receiver asks for it."""
    (
        id_,
        state,
        status,
        url,
        headers,
        credits,
        refunded,
        finished_at,
        error,
        result,
        trace_id,
        custom_id,
        user_id,
    ) = row
    public = custom_id or ids.public_id(id_)
    body = {
        "event": "task.ended",
        "task_id": public,
        "status": Status(status).wire,
        "state": State(state).wire,
        "result": None
        if result is None or not with_result
        else msgspec.json.decode(sealed.opened(result)),
        "fail_reason": error,
        "credits": credits,
        "refunded_credits": refunded,
        "finished_at": finished_at.isoformat().replace("+00:00", "Z") if finished_at else None,
    }
    return TaskRequest(
        type="http:callback",
        payload={
            "url": url,
            "headers": _sent(msgspec.json.decode(sealed.opened(headers)) if headers else {}),
            "body": body,
        },
        queue="critical",
        business_id=public,
        trace_id=trace_id,
        user_id=user_id,
    )


def _sent(headers: dict[str, str]) -> dict[str, str]:
    """Without those that a submit refuses by now: no end may fail of an old task's headers."""
    return {name: value for name, value in headers.items() if not is_ours(name)}
