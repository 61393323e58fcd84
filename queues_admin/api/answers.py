"""Shapes of answers that are no selector's."""

from typing import Any

import msgspec


class ItemError(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    details: dict[str, Any] | None


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    index: int
    task_id: str | msgspec.UnsetType = msgspec.UNSET
    error: ItemError | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    accepted: int
    rejected: int
    results: list[BatchItem]


class CancelResult(msgspec.Struct, frozen=True, kw_only=True):
    """`cancel_requested` is there when a run is active: its end and the refund follow."""

    task_id: str
    user_id: int | None
    credits: int
    refunded: bool
    reason: str
    cancel_requested: bool | msgspec.UnsetType = msgspec.UNSET


class CancelItem(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    success: bool
    user_id: int | None
    credits: int
    refunded: bool
    reason: str
    error: ItemError | None
    cancel_requested: bool | msgspec.UnsetType = msgspec.UNSET


class CancelBatchResult(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    cancelled: int
    refunded_credits: int
    results: list[CancelItem]


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    deleted: bool


class QueueDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """`deleted`: how many tasks went with it."""

    queue: str
    deleted: int
    refunded_credits: int


class Emptied(msgspec.Struct, frozen=True, kw_only=True):
    """`remaining`: whether tasks are left, because there were too many for one call or some were busy."""

    queue: str
    deleted: int
    refunded_credits: int
    remaining: bool


class NewKeyResult(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is shown this once."""

    key: str
    key_id: str
    name: str
    scopes: list[str]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed."""

    name: str
    done: bool = True
