"""The contract's alerts judged by our own numbers, without Prometheus: what is true at this moment."""

import operator
from collections.abc import Callable

import msgspec

from jobs.contract.reader import contract
from jobs.contract.shapes import Alert
from jobs.lifecycle.breaker import is_houses
from jobs.selectors.figures import Figure, figures

_OPS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """`for_s`: how long Prometheus would wait before it notifies; here the condition holds now."""

    name: str
    severity: str
    summary: str
    runbook: str
    labels: dict[str, str]
    value: float
    for_s: float


def firing(numbers: list[Figure] | None = None, *, house: bool = False) -> list[Firing]:
    """Alerts on present values; those on a growth over time are Prometheus' business.

    `house`: without those on queues and breakers of tenants.
    """
    by_name = {f.name: f for f in (figures() if numbers is None else numbers)}
    found = [
        hit
        for alert in contract().all_alerts()
        if alert.aggregate == "value"
        for hit in _hits(alert, by_name)
        if not house or _is_houses(hit.labels)
    ]
    order = ("critical", "warning", "info")
    return sorted(found, key=lambda hit: order.index(hit.severity))


def _is_houses(labels: dict[str, str]) -> bool:
    return ":" not in labels.get("queue", "") and is_houses(labels.get("breaker", ""))


def _hits(alert: Alert, by_name: dict[str, Figure]) -> list[Firing]:
    figure = by_name.get(alert.metric)
    if figure is None:
        return []
    return [
        Firing(
            name=alert.name,
            severity=alert.severity,
            summary=alert.summary,
            runbook=alert.runbook,
            labels=dict(labels),
            value=value,
            for_s=alert.for_s,
        )
        for labels, value in figure.samples
        if alert.queue in (None, dict(labels).get("queue")) and _OPS[alert.op](value, alert.value)
    ]
