"""Tenants: each has queues of its own beside the contract's, keys of its own, and quotas."""

import re
from collections.abc import Mapping

import structlog
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from jobs.domain.errors import Conflict, Invalid, NotFound, QuotaExceeded
from jobs.domain.states import State
from jobs.models import Queue, Tenant
from jobs.operations import queues, quotas
from jobs.store import catalog, postgres

log = structlog.get_logger("tenants")

RESERVED = ("iso", "poll", "intermediate")
_SLUG = re.compile(r"[a-z][a-z0-9-]{1,30}")
QUOTAS = {
    "max_pending": (0, 2**31 - 1),
    "max_active": (1, 1_000_000),
    "rate_per_s": (1, 1_000_000),
}
_WAITING = [State.PENDING, State.SCHEDULED, State.RETRY, State.AGGREGATING]


def create(
    slug: str,
    name: str = "",
    *,
    max_pending: int | None = None,
    max_active: int | None = None,
    rate_per_s: int | None = None,
) -> Tenant:
    """A tenant with its queues `slug:<base>`; dead letters of all tenants share one queue.

    `max_pending`: most tasks that may wait; `max_active`: that may run at once; `rate_per_s`: requests of all its keys.
    Raises Invalid, Conflict.
    """
    refusal = slug_refusal(slug)
    if refusal:
        raise Invalid(refusal, field="slug", reserved=RESERVED)
    given = {"max_pending": max_pending, "max_active": max_active, "rate_per_s": rate_per_s}
    _check(given)
    with transaction.atomic():
        made, is_new = Tenant.objects.get_or_create(slug=slug, defaults={"name": name, **given})
        if not is_new:
            raise Conflict("There is a tenant '%(slug)s' already", slug=slug)
        _add_queues(made)
        queues.announce()
        if max_active is not None:
            transaction.on_commit(quotas.changed, robust=True)
    log.info("tenant created", slug=slug)
    return made


def slug_refusal(slug: str) -> str | None:
    """Why no tenant can have this slug."""
    if _SLUG.fullmatch(slug) and slug not in RESERVED:
        return None
    return gettext_noop(
        "A slug has 2 to 31 lower-case letters, digits and `-`, begins with a letter and is no reserved word"
    )


def change(slug: str, given: Mapping[str, object]) -> Tenant:
    """Change the name and quotas (None: no quota) as given. Raises NotFound, Invalid."""
    with transaction.atomic():
        tenant = Tenant.objects.select_for_update(no_key=True).filter(slug=slug).first()
        if tenant is None:
            raise NotFound("There is no such tenant", tenant=slug)
        asked = {name: given[name] for name in QUOTAS if name in given}
        if tenant.pk == catalog.DEFAULT_TENANT and any(v is not None for v in asked.values()):
            raise Invalid("The default tenant has no quotas", tenant=slug)
        _check(asked)
        for field, value in given.items():
            setattr(tenant, field, value)
        tenant.save(update_fields=list(given))
        transaction.on_commit(catalog.stale)
        if "max_active" in given:
            transaction.on_commit(quotas.changed, robust=True)
    return tenant


def pause(slug: str, *, actor: str, reason: str = "") -> None:
    """Nothing of any of its queues starts after this commits, of those that come later neither; submits pass.

    Queues' own pauses stay as they are, and resuming them does not lift it. Raises NotFound, Invalid, Conflict.
    """
    tenant_id = _pausable(slug)
    with transaction.atomic():
        changed = Tenant.objects.filter(pk=tenant_id, paused_at=None).update(
            paused_at=Now(), paused_by=actor, paused_reason=reason
        )
        if not changed:
            raise Conflict("Tenant %(tenant)s is paused already", tenant=slug)
        _hold(tenant_id, True)
    log.warning("tenant paused", slug=slug, reason=reason)


def resume(slug: str) -> None:
    """End the pause of the tenant; queues paused themselves stay so. Raises NotFound, Invalid, Conflict."""
    tenant_id = _pausable(slug)
    with transaction.atomic():
        changed = Tenant.objects.filter(pk=tenant_id, paused_at__isnull=False).update(
            paused_at=None, paused_by="", paused_reason=""
        )
        if not changed:
            raise Conflict("Tenant %(tenant)s is not paused", tenant=slug)
        _hold(tenant_id, False)
    log.warning("tenant resumed", slug=slug)


def _hold(tenant_id: int, held: bool) -> None:
    """Noted on each queue, deleted ones too, so that a claim reads it with the queue."""
    Queue.objects.filter(tenant_id=tenant_id).update(tenant_paused=held)
    queues.announce()


def _pausable(slug: str) -> int:
    tenant_id = id_of(slug)
    if tenant_id == catalog.DEFAULT_TENANT:
        raise Invalid("Queues of the default tenant are paused one by one", tenant=slug)
    return tenant_id


def id_of(slug: str) -> int:
    """Raises NotFound."""
    found = Tenant.objects.filter(slug=slug).values_list("pk", flat=True).first()
    if found is None:
        raise NotFound("There is no such tenant", tenant=slug)
    return found


class Room:
    """What a tenant may still submit. Submits at the same moment may exceed its quota by what they bring."""

    def __init__(self, tenant_id: int) -> None:
        self._left: int | None = None
        if tenant_id == catalog.DEFAULT_TENANT:
            return
        most = catalog.tenant(tenant_id).max_pending
        if most is not None:
            self._left = most - waiting(tenant_id)

    def take(self, count: int) -> None:
        """Raises QuotaExceeded."""
        if self._left is None:
            return
        if count > self._left:
            raise QuotaExceeded(retry_after_s=5)
        self._left -= count


def waiting(tenant_id: int) -> int:
    """How many of its tasks wait, by the counters."""
    rows = postgres.query(
        "SELECT coalesce(sum(n), 0)::bigint FROM (SELECT queue_id, metric, n FROM queue_stat"
        " UNION ALL SELECT queue_id, metric, n FROM stat_delta) x JOIN queue q ON q.id = x.queue_id"
        " WHERE q.tenant_id = %s AND metric = ANY(%s::int[])",
        [tenant_id, [int(state) for state in _WAITING]],
    )
    return max(0, int(rows[0][0]))


def _check(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        low, high = QUOTAS[name]
        if value is not None and not (isinstance(value, int) and low <= value <= high):
            raise Invalid(
                "`%(field)s` is between %(low)s and %(high)s",
                low=low,
                high=high,
                field=name,
                given=value,
            )


def _add_queues(tenant: Tenant) -> None:
    """Weight is shared with the base queue, capacity is the tenant's own."""
    bases = Queue.objects.filter(base_id__isnull=True).exclude(name=catalog.DEAD_LETTER)
    Queue.objects.bulk_create(
        Queue(
            name=f"{tenant.slug}:{base.name}",
            tenant_id=tenant.pk,
            base_id=base.pk,
            weight=base.weight,
            capacity=base.capacity,
            tenant_paused=tenant.paused_at is not None,
        )
        for base in bases.order_by("id")
    )
