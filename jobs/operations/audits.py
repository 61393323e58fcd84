"""The audit log: every change by a person or key, and every refused attempt."""

from typing import Any

from jobs.models import AuditEntry


def record(
    *,
    actor: str,
    action: str,
    target: str = "",
    reason: str = "",
    address: str = "",
    refused: bool = False,
    before: Any = None,
    after: Any = None,
    tenant_id: int = 1,
) -> None:
    """Append one entry, in the caller's transaction if there is one. `action` like `task.cancel`.

    A NUL in the target, which may be a path as it was sent, is written as `\\0`.
    """
    AuditEntry.objects.create(
        actor=actor,
        address=address,
        action=action,
        target=target.replace("\x00", "\\0"),
        reason=reason,
        refused=refused,
        before=before,
        after=after,
        tenant_id=tenant_id,
    )
