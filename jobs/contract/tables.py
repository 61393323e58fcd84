"""TOML tables into shapes; every refusal names the key, what is wrong and what is allowed."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, TypeVar

import msgspec

from jobs.contract import durations
from jobs.contract.shapes import Alert, Queue, Shape, without_unit
from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status

POLLED = (Status.IN_PROGRESS, Status.SUBMITTED, Status.QUEUED, Status.UNKNOWN)
_S = TypeVar("_S", bound=Shape)


def wrong(key: str, problem: str, allowed: Iterable[object] | None = None) -> Misconfigured:
    """The error for one key."""
    if allowed is None:
        return Misconfigured(f"{key}: {problem}", key=key)
    listed = [str(one) for one in allowed]
    return Misconfigured(f"{key}: {problem}; allowed: {', '.join(listed)}", key=key, allowed=listed)


def single(shape: type[_S], raw: Mapping[str, object], key: str) -> _S:
    """The table `key` as `shape`."""
    return _build(shape, _table(raw, key), key)


def named(shape: type[_S], raw: Mapping[str, object], key: str) -> Mapping[str, _S]:
    """The table of tables `key`: each entry becomes a `shape` that knows its name."""
    entries = _table(raw, key)
    built = {}
    for name, value in entries.items():
        at = f"{key}.{name}"
        if not isinstance(value, dict):
            raise wrong(at, f"{value!r} is no table")
        if "name" in value:
            raise wrong(f"{at}.name", "unknown key: the table's own key is the name")
        built[name] = _build(shape, {**value, "name": name}, at)
    return MappingProxyType(built)


def poll_delays(raw: Mapping[str, object], key: str) -> Mapping[Status, tuple[float, ...]]:
    """Every polled status with its sequence of seconds."""
    entries = _table(raw, key)
    names = [status.wire for status in POLLED]
    for name in entries:
        if name not in names:
            raise wrong(f"{key}.{name}", "unknown status", names)
    return MappingProxyType({s: _sequence(entries.get(s.wire), f"{key}.{s.wire}") for s in POLLED})


def exists(name: str, known: Collection[str], key: str) -> None:
    """Raises Misconfigured when `name` dangles."""
    if name not in known:
        raise wrong(key, f"there is no {name!r}", known)


def ascending(key: str, shape: Shape, *fields: str) -> None:
    """Raises Misconfigured when the values of `fields` do not stand in this order."""
    values = [getattr(shape, field) for field in fields]
    if values != sorted(values):
        order = " <= ".join(without_unit(field) for field in fields)
        raise wrong(key, f"must be in this order: {order}, given {values}")


def check_keys(
    raw: Mapping[str, object], fields: Iterable[str], *, renamed: Mapping[str, str]
) -> None:
    """Raises Misconfigured for a top-level table that nobody knows."""
    known = [renamed.get(field, field) for field in fields]
    for key in raw:
        if key not in known:
            raise wrong(key, "unknown table", known)


def threshold_alert(queue: Queue, severity: Literal["warning", "critical"], for_s: float) -> Alert:
    """The alert of one queue's threshold."""
    limit = queue.warning if severity == "warning" else queue.critical
    title = queue.name.title().replace("_", "")
    return Alert(
        name=f"{title}Queue{severity.title()}",
        metric="asynq_pending_tasks" if queue.counts == "pending" else "asynq_dead_tasks",
        queue=queue.name,
        op=">",
        value=float(limit),
        for_s=for_s,
        severity=severity,
        summary=f"Queue {queue.name} has more than {limit} {queue.counts} tasks",
        runbook="queue-backlog" if queue.counts == "pending" else "dead-letters",
    )


def _table(raw: Mapping[str, object], key: str) -> dict[str, object]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise wrong(key, "this table is missing")
    return value


def _build(shape: type[_S], value: dict[str, object], key: str) -> _S:
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(shape)}
    ready: dict[str, object] = {}
    for name, given in value.items():
        if name not in fields:
            raise wrong(f"{key}.{name}", "unknown key", [one for one in fields if one != "name"])
        ready[name] = _seconds(given, f"{key}.{name}") if fields[name].endswith("_s") else given
    try:
        return msgspec.convert(ready, shape, strict=True)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise wrong(key + path.removesuffix("`"), problem) from error


def _sequence(values: object, key: str) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        raise wrong(key, 'a list of durations is needed, as in ["3s", "6s"]')
    return tuple(_seconds(value, key) for value in values)


def _seconds(value: object, key: str) -> float:
    try:
        return durations.seconds(value)
    except ValueError as error:
        raise wrong(key, str(error), durations.UNITS_S) from error
