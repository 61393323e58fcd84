"""What a caller may say of a task, and the row it becomes. The same struct for Python and REST."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain import ids
from jobs.domain.limits import Limit
from jobs.domain.states import Lane
from jobs.handlers.registry import Handler
from jobs.store import catalog


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Durations are seconds. An option given here wins over the handler's default."""

    type: str
    payload: Any = {}
    queue: str | None = None
    process_in: float | None = None
    process_at: datetime | None = None
    front: bool = False
    max_retries: int | None = None
    timeout: float | None = None
    deadline: datetime | None = None
    retention: int | float | None = None
    unique_for: float | None = None
    unique_key: str | None = None
    group: str | None = None
    tags: list[str] = []
    business_id: str | None = None
    user_id: int | None = None
    trace_id: str | None = None
    headers: dict[str, str] = {}
    task_id: str | None = None
    priority: int | str | None = None
    platform: str | None = None
    credits: int = 0
    callback_url: str | None = None
    idempotency_key: str | None = None
    after: list[str] = []
    shards: list[Any] | None = None
    limit_key: str | None = None
    limit: int | Limit | None = None


class Prepared(msgspec.Struct, kw_only=True):
    """A valid request as the row it is to become; `index` is its place in the caller's batch."""

    index: int
    request: TaskRequest
    id: UUID
    handler: Handler
    lane: Lane
    queue: catalog.QueueRow
    tenant_id: int
    payload_json: str
    options_json: str
    flags: int
    credits: int
    timeout_ms: int | None
    retention_s: int
    max_retries: int
    body_hash: str
    lock_key: str | None = None
    lock_for_s: float = 0.0
    account_id: int | None = None
    parent_id: UUID | None = None
    waits: bool = False
    shards: list[Any] | None = None
    children: list["Prepared"] = []
    internal: bool = False
    actor: str | None = None
    predecessors: list[UUID] = []
    platform: catalog.PlatformRow | None = None
    limit_key: str | None = None
    limit: Limit | None = None
    limit_id: int | None = None

    @property
    def in_line(self) -> bool:
        """Whether it takes its turn under its limit next, once it is due: it waits for no other task first."""
        return self.limit_key is not None and not self.predecessors

    @property
    def public_id(self) -> str:
        return self.request.task_id or ids.public_id(self.id)
