"""The contract, read once, checked to the last key, and asked by name."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import tables
from jobs.contract.shapes import (
    Alert,
    BackpressureRules,
    BreakerRules,
    Defaults,
    Leases,
    Limits,
    Poison,
    Polling,
    Priority,
    Profile,
    Queue,
    Retry,
)
from jobs.domain.errors import Invalid, Misconfigured, UnknownQueue
from jobs.domain.states import Status

PATH = Path(__file__).with_name("contract.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """Everything of `contract.toml`; mappings keep the file's order. Durations are seconds."""

    queues: Mapping[str, Queue]
    priorities: Mapping[str, Priority]
    profiles: Mapping[str, Profile]
    delays: Mapping[Status, tuple[float, ...]]
    polling: Polling
    backpressure: BackpressureRules
    breaker: BreakerRules
    retry: Retry
    defaults: Defaults
    limits: Limits
    leases: Leases
    poison: Poison
    alerts: Mapping[str, Alert]

    def queue(self, name: str) -> Queue:
        """The base queue of a name, also of a tenant's (`tenant1:default`); raises UnknownQueue."""
        found = self.queues.get(name.rpartition(":")[2])
        if found is None:
            raise UnknownQueue(f"There is no queue {name!r}", queue=name, known=list(self.queues))
        return found

    def queue_for_priority(self, priority: int | str) -> str:
        """The queue's name for 0-3 or a priority's name; raises Invalid."""
        wanted = str(priority).strip().lower()
        for row in self.priorities.values():
            if wanted in (row.name, str(row.level)):
                return row.queue
        allowed = [*sorted({row.level for row in self.priorities.values()}), *self.priorities]
        raise Invalid(f"There is no priority {priority!r}", field="priority", allowed=allowed)

    def profile(self, name: str) -> Profile:
        """Raises Misconfigured with the profiles that exist."""
        found = self.profiles.get(name)
        if found is None:
            raise tables.wrong("profile", f"there is no {name!r}", self.profiles)
        return found

    def poll_delays(self, status: Status) -> tuple[float, ...]:
        """Seconds before the next poll, answer by answer; empty for a status without a sequence."""
        return self.delays.get(status, ())

    def queue_alerts(self) -> tuple[Alert, ...]:
        """An alert per queue and threshold, made from the queues' table."""
        return tuple(
            tables.threshold_alert(queue, severity, self.defaults.threshold_for_s)
            for queue in self.queues.values()
            for severity in ("warning", "critical")
        )

    def all_alerts(self) -> tuple[Alert, ...]:
        """The written alerts, then those of the queues."""
        return (*self.alerts.values(), *self.queue_alerts())


def load(path: Path | None = None) -> Contract:
    """Read and check a contract. Raises Misconfigured with `file`, `key`, `allowed`."""
    path = path or PATH
    try:
        return _contract(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}", file=str(path)) from error
    except ValueError as error:
        raise Misconfigured(f"{path}: {error}", file=str(path)) from error
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error.message}", file=str(path), **error.details) from error


@functools.cache
def contract() -> Contract:
    """The contract that this process works by."""
    return load()


def _contract(raw: dict[str, object]) -> Contract:
    tables.check_keys(raw, Contract.__dataclass_fields__, renamed={"delays": "poll_delays"})
    queues = tables.named(Queue, raw, "queues")
    built = Contract(
        queues=queues,
        priorities=tables.named(Priority, raw, "priorities"),
        profiles=tables.named(Profile, raw, "profiles"),
        delays=tables.poll_delays(raw, "poll_delays"),
        polling=tables.single(Polling, raw, "polling"),
        backpressure=tables.single(BackpressureRules, raw, "backpressure"),
        breaker=tables.single(BreakerRules, raw, "breaker"),
        retry=tables.single(Retry, raw, "retry"),
        defaults=tables.single(Defaults, raw, "defaults"),
        limits=tables.single(Limits, raw, "limits"),
        leases=tables.single(Leases, raw, "leases"),
        poison=tables.single(Poison, raw, "poison"),
        alerts=tables.named(Alert, raw, "alerts"),
    )
    _check(built)
    return built


def _check(it: Contract) -> None:
    """What one table alone cannot know: names that must exist, numbers that must be in order."""
    for priority in it.priorities.values():
        tables.exists(priority.queue, it.queues, f"priorities.{priority.name}.queue")
    for alert in it.alerts.values():
        if alert.queue is not None:
            tables.exists(alert.queue, it.queues, f"alerts.{alert.name}.queue")
        if (alert.over_s is not None) is not (alert.aggregate in ("increase", "delta")):
            raise tables.wrong(f"alerts.{alert.name}.over", "goes with increase and delta only")
    for name in ("default", "dead_letter"):
        tables.exists(name, it.queues, "queues")
    tables.exists("default", it.profiles, "profiles")
    for queue in it.queues.values():
        tables.ascending(f"queues.{queue.name}", queue, "normal", "warning", "critical")
    for profile in it.profiles.values():
        tables.ascending(f"profiles.{profile.name}", profile, "initial_s", "max_s")
    tables.ascending("backpressure", it.backpressure, "warning_out", "warning_in", "critical_in")
    tables.ascending("backpressure", it.backpressure, "warning_out", "critical_out", "critical_in")
    tables.ascending("poison", it.poison, "solo_at", "dead_at", "most_at")
    tables.ascending("retry", it.retry, "base_s", "cap_s")
    tables.ascending("breaker", it.breaker, "successes", "probes")
    tables.ascending("leases", it.leases, "sweep_s", "beat_s", "lease_s")
