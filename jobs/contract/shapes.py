"""The contract's shapes. A field `hold_s` is written `hold = "5s"`: without suffix, with its unit."""

from typing import Annotated, Literal

import msgspec

from jobs.contract import durations

Count = Annotated[int, msgspec.Meta(ge=1)]
Whole = Annotated[int, msgspec.Meta(ge=0)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Severity = Literal["info", "warning", "critical"]


def without_unit(field: str) -> str:
    """The contract's key for a field."""
    return field.removesuffix("_s")


class Shape(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=without_unit
):
    """One table of the contract."""


class Queue(Shape, frozen=True, kw_only=True):
    """`counts`: what the thresholds count. Without `capacity` there is no back-pressure."""

    name: str
    weight: Count
    purpose: str
    normal: Whole
    warning: Whole
    critical: Whole
    capacity: Count | None = None
    counts: Literal["pending", "archived"] = "pending"


class Priority(Shape, frozen=True, kw_only=True):
    """A caller's word or number for a queue."""

    name: str
    level: Whole
    queue: str


class Profile(Shape, frozen=True, kw_only=True):
    """Delay after a contact error: doubling from `initial_s` to `max_s`."""

    name: str
    initial_s: float
    max_s: float


class Polling(Shape, frozen=True, kw_only=True):
    jitter_ratio: Ratio
    unknown_limit: Count
    contact_error_limit: Count


class BackpressureRules(Shape, frozen=True, kw_only=True):
    """Utilisation at which a level is entered and left."""

    warning_in: Ratio
    warning_out: Ratio
    critical_in: Ratio
    critical_out: Ratio
    hold_s: float


class BreakerRules(Shape, frozen=True, kw_only=True):
    """`probe_timeout_s`: a probe without an answer for that long is lost and may be replaced."""

    failures: Count
    open_s: float
    probes: Count
    successes: Count
    probe_timeout_s: float


class Retry(Shape, frozen=True, kw_only=True):
    max_retries: Whole
    base_s: float
    cap_s: float


class Defaults(Shape, frozen=True, kw_only=True):
    """`threshold_for_s`: how long a queue is above its threshold before it is alerted."""

    run_timeout_s: float
    retention_s: float
    dead_retention_s: float
    stop_grace_s: float
    unique_window_s: float
    threshold_for_s: float


class Limits(Shape, frozen=True, kw_only=True):
    """`window`: tickets per queue in Redis; `batch`: tasks per claim, `batch_submit`: per request."""

    window: Count
    tenant_window: Count
    batch: Count
    batch_submit: Count
    error_chars: Count
    result_bytes: Count


class Leases(Shape, frozen=True, kw_only=True):
    """A worker's beat, when it is dead without one, and how often the duties happen."""

    beat_s: float
    lease_s: float
    sweep_s: float
    audit_s: float
    look_s: float


class Poison(Shape, frozen=True, kw_only=True):
    """Crashes at which a task runs alone, is dead when seen to crash alone, is dead in any case."""

    solo_at: Count
    dead_at: Count
    most_at: Count


class Alert(Shape, frozen=True, kw_only=True):
    """A rule in parts: for Prometheus (`promql`) and for the console's own evaluation.

    `aggregate`: value = the gauge itself; increase (of a counter) and delta (of a gauge) over
    `over_s`; absent = there is no series, which only Prometheus can tell.
    `queue` restricts a metric that has the label. `runbook` is the anchor in the runbook.
    """

    name: str
    metric: str
    op: Literal[">", ">=", "<", "<=", "==", "!="]
    value: float
    severity: Severity
    summary: str
    runbook: str
    aggregate: Literal["value", "increase", "delta", "absent"] = "value"
    queue: str | None = None
    for_s: float = 0.0
    over_s: float | None = None

    @property
    def promql(self) -> str:
        """The condition as Prometheus reads it."""
        series = self.metric if self.queue is None else f'{self.metric}{{queue="{self.queue}"}}'
        if self.aggregate == "absent":
            return f"absent({series})"
        if self.aggregate != "value":
            series = f"{self.aggregate}({series}[{durations.text(self.over_s or 0.0)}])"
        return f"{series} {self.op} {self.value:g}"
