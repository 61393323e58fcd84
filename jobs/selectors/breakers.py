"""Circuit breakers as they are obeyed at this moment: a force whose time is over is shown nowhere."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from jobs.domain.errors import NotFound
from jobs.lifecycle import breaker as rules
from jobs.lifecycle.breaker import Breaker, BreakerState, is_houses, name_of, service_name
from jobs.models import Platform
from jobs.store import breakers as rows
from jobs.store import catalog, postgres

_MOST = 1000


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """`forced` is `OPEN` or `CLOSED` while an operator holds it there, with who, why, since and until when.

    `wait_s`: when it is worth asking again, 0 where requests go out now. `forced_by` is empty in a tenant's
    view of a service instance's breaker, which the house holds.
    """

    name: str
    state: str
    failures: int
    successes: int
    opened_at: datetime | None
    forced: str | None
    forced_until: datetime | None
    forced_at: datetime | None
    forced_by: str
    forced_reason: str
    wait_s: float
    updated_at: datetime | None

    @property
    def holds(self) -> bool:
        """Whether it lets fewer than all requests through."""
        return self.state != BreakerState.CLOSED


def views(names: Iterable[str], *, staff: bool = True) -> dict[str, BreakerView]:
    """By name; one that nobody has used yet is closed. `staff=False`: without who forced those of service instances."""
    wanted = list(dict.fromkeys(names))
    found = {view.name: view for view in _read("WHERE name = ANY(%s)", [wanted])}
    shown = {name: found.get(name) or _view(name, Breaker(), 0.0) for name in wanted}
    return shown if staff else {name: _without_staff(view) for name, view in shown.items()}


def listing(tenant_id: int | None = None) -> list[BreakerView]:
    """All breakers, of platforms and of service instances, used or not yet; of a tenant: those of its platforms.

    Of the default tenant: the house's, of both kinds.
    """
    if tenant_id is not None and tenant_id != catalog.DEFAULT_TENANT:
        listed = list(views(sorted(_of_tenant(tenant_id)), staff=False).values())
    else:
        known = {view.name: view for view in _read("ORDER BY name LIMIT %s", [_MOST])}
        found = (views(_configured()) | known).values()
        listed = [view for view in found if tenant_id is None or is_houses(view.name)]
    return sorted(listed, key=lambda view: view.name)[:_MOST]


def get(name: str, tenant_id: int | None = None) -> BreakerView:
    """One by its name in full. Raises NotFound for one that no platform has and nobody asked, or a stranger's."""
    of_house = tenant_id is None or tenant_id == catalog.DEFAULT_TENANT
    if tenant_id is not None and not of_house:
        there = name in _of_tenant(tenant_id)
    else:
        there = bool(_read("WHERE name = %s", [name])) or name in _configured()
        there = there and (tenant_id is None or is_houses(name))
    if not there:
        raise NotFound("There is no such breaker", breaker=name)
    return views([name], staff=of_house)[name]


def of_platform(name: str) -> list[BreakerView]:
    """The two that a request to this platform needs leave of; none for a platform that is not there."""
    found = Platform.objects.filter(name=name).first()
    return [] if found is None else list(views(_both(found)).values())


def _of_tenant(tenant_id: int) -> set[str]:
    """Those of service instances, its own too, are shown with its platforms and held by the house alone."""
    names = Platform.objects.filter(tenant_id=tenant_id).values_list("name", flat=True)
    return {name_of(name) for name in names}


def _configured() -> list[str]:
    """Both breakers of every registered platform."""
    found = Platform.objects.order_by("name")[:_MOST]
    return sorted({full for platform in found for full in _both(platform)})


def _both(platform: Platform) -> tuple[str, str]:
    owner = catalog.owner(platform.tenant_id, platform.name)
    return name_of(platform.name), service_name(platform.base_url, owner)


def _read(which: str, params: Sequence[object]) -> list[BreakerView]:
    found = postgres.query(
        f"SELECT {rows.COLUMNS}, forced_at, forced_by, forced_reason, updated_at,"
        f" extract(epoch FROM clock_timestamp())::float8 FROM breaker {which}",
        list(params),
    )
    return [_of_row(row) for row in found]


def _of_row(row: postgres.Row) -> BreakerView:
    *stored, forced_at, by, reason, updated_at, now_s = row
    view = _view(row[0], rows.of_row(tuple(stored)), now_s)
    if view.forced is None:
        return msgspec.structs.replace(view, updated_at=updated_at)
    return msgspec.structs.replace(
        view, forced_at=forced_at, forced_by=by, forced_reason=reason, updated_at=updated_at
    )


def _view(name: str, stored: Breaker, now_s: float) -> BreakerView:
    b = rules.in_force(stored, now_s)
    return BreakerView(
        name=name,
        state=b.state.value,
        failures=b.failures,
        successes=b.successes,
        opened_at=_time(b.opened_at_s),
        forced=b.forced.value if b.forced else None,
        forced_until=_time(b.forced_until_s),
        forced_at=None,
        forced_by="",
        forced_reason="",
        wait_s=round(rules.wait_s(b, now_s), 3),
        updated_at=None,
    )


def _time(at_s: float | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)


def _without_staff(view: BreakerView) -> BreakerView:
    houses = view.name.startswith("service:")
    return msgspec.structs.replace(view, forced_by="") if houses else view
