"""Task ids: UUIDv7 inside, `task_<26 characters of Crockford base32>` outside, `job:<task>:<n>` per run."""

import os
import time
from uuid import UUID, uuid5

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_CUSTOM = UUID("5f2c8a1e-8f4e-5b7a-9d53-0a6f1c2b7e90")
_GROUP = UUID("3b0a1c52-8d1f-5c5e-9a3c-7d5f2f6d1e44")
_PREFIX = "task_"


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562): 48 bits of unix milliseconds, then 74 random bits."""
    ms = time.time_ns() // 1_000_000
    rand = int.from_bytes(os.urandom(10), "big")
    value = (
        (ms & 0xFFFFFFFFFFFF) << 80
        | 0x7 << 76
        | (rand >> 68) << 64
        | 0b10 << 62
        | rand & (1 << 62) - 1
    )
    return UUID(int=value)


def custom_id(tenant_id: int, name: str) -> UUID:
    """The id of a task whose caller chose the name: the same (tenant, name) is always the same task."""
    return uuid5(_CUSTOM, f"{tenant_id}:{name}")


def group_id(tenant_id: int, queue: str, type_: str, group: str) -> UUID:
    """What the members of a group have as parent until they are collected."""
    return uuid5(_GROUP, f"{tenant_id}:{queue}:{type_}:{group}")


def public_id(task_id: UUID | str) -> str:
    """`task_…` for a task's UUID."""
    n = (task_id if isinstance(task_id, UUID) else UUID(task_id)).int
    pairs = [_PAIRS[n >> shift & 1023] for shift in range(120, -1, -10)]
    return _PREFIX + "".join(pairs)


def job_id(public: str, runs: int) -> str:
    """The public id of one run; `runs` = runs begun before it."""
    return f"job:{public}:{runs}"


def redriven_job_id(public: str, unix_ts: int) -> str:
    return f"job:{public}:retry:{unix_ts}"


def task_part(any_id: str) -> str:
    """The task's name inside a task id or any of its job ids; other text comes back unchanged."""
    if not any_id.startswith("job:"):
        return any_id
    body, sep, _ = any_id[4:].rpartition(":")
    body = body.removesuffix(":retry")
    return body if sep else any_id[4:]


def parse_id(any_id: str, tenant_id: int = 1) -> UUID:
    """The UUID behind a public id, a job id, a bare UUID or a caller's own name (of `tenant_id`)."""
    name = task_part(any_id)
    if name.startswith(_PREFIX) and len(name) == len(_PREFIX) + 26:
        value = _decode(name[len(_PREFIX) :])
        if value is not None:
            return UUID(int=value)
    if len(name) == 36:
        try:
            return UUID(name)
        except ValueError:
            pass
    return custom_id(tenant_id, name)


def _decode(text: str) -> int | None:
    value = 0
    for c in text.upper():
        digit = _VALUES.get(c)
        if digit is None:
            return None
        value = value << 5 | digit
    return value if value < 1 << 128 else None
