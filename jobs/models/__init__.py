"""The rows. Written by `operations` alone, read by `selectors`; no model has behaviour of its own."""

from jobs.models.audit import AuditEntry, AuditLink, AuditUnlinked, Event
from jobs.models.credits import Account, CreditEntry
from jobs.models.engine import (
    Aftermath,
    Control,
    DigestKey,
    Duty,
    Idempotency,
    RedisShard,
    ShardCount,
    TaskAfter,
    TaskWait,
    UniqueLock,
)
from jobs.models.history import QueueDay, RateReading
from jobs.models.ledger import BillingOutbox, BillingSwitch, LedgerCheckpoint, LedgerMismatch
from jobs.models.limits import TaskLimit
from jobs.models.migration import MigratedRow, MigrationRun
from jobs.models.plans import Plan, PlanItem
from jobs.models.platforms import (
    Breaker,
    Platform,
    PlatformGate,
    PlatformTask,
    WebhookDelivery,
)
from jobs.models.queues import Queue
from jobs.models.schedules import Schedule, ScheduleTick
from jobs.models.syncing import SyncedRow, SyncPosition
from jobs.models.tasks import Flag, Task, TaskInfo, TaskRun
from jobs.models.tenants import ApiKey, Tenant
from jobs.models.workers import Worker

__all__ = [
    "Account",
    "Aftermath",
    "ApiKey",
    "AuditEntry",
    "AuditLink",
    "AuditUnlinked",
    "BillingOutbox",
    "BillingSwitch",
    "Breaker",
    "Control",
    "CreditEntry",
    "DigestKey",
    "Duty",
    "Event",
    "Flag",
    "Idempotency",
    "LedgerCheckpoint",
    "LedgerMismatch",
    "MigratedRow",
    "MigrationRun",
    "Plan",
    "PlanItem",
    "Platform",
    "PlatformGate",
    "PlatformTask",
    "Queue",
    "QueueDay",
    "RateReading",
    "RedisShard",
    "Schedule",
    "ScheduleTick",
    "ShardCount",
    "SyncPosition",
    "SyncedRow",
    "Task",
    "TaskAfter",
    "TaskInfo",
    "TaskLimit",
    "TaskRun",
    "TaskWait",
    "Tenant",
    "UniqueLock",
    "WebhookDelivery",
    "Worker",
]
