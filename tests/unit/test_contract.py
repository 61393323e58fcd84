"""The contract file: its numbers to the letter, and refusals that say where and what."""

from pathlib import Path

import pytest

from jobs.contract import durations
from jobs.contract.reader import PATH, contract, load
from jobs.domain.errors import Invalid, Misconfigured, UnknownQueue
from jobs.domain.states import Status


def _changed(tmp_path: Path, old: str, new: str) -> Path:
    text = PATH.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "contract.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def _refusal(path: Path) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        load(path)
    assert str(path) in caught.value.message
    assert caught.value.details["file"] == str(path)
    return caught.value


@pytest.mark.req("Q-01")
def test_the_six_queues_have_the_guides_weights_thresholds_and_capacities() -> None:
    rows = {
        q.name: (q.weight, q.normal, q.warning, q.critical, q.capacity, q.counts)
        for q in contract().queues.values()
    }
    assert rows == {
        "critical": (10, 10, 50, 100, 2_000, "pending"),
        "high": (6, 50, 200, 500, 10_000, "pending"),
        "default": (4, 100, 500, 1_000, 50_000, "pending"),
        "scheduled": (3, 500, 2_000, 5_000, 50_000, "pending"),
        "low": (1, 50, 2_000, 10_000, 100_000, "pending"),
        "dead_letter": (1, 20, 20, 50, None, "archived"),
    }


@pytest.mark.req("Q-01")
def test_a_tenants_queue_is_known_by_its_base_and_a_strange_one_names_the_known() -> None:
    assert contract().queue("tenant1:default") is contract().queue("default")
    with pytest.raises(UnknownQueue) as caught:
        contract().queue("nope")
    assert caught.value.details["known"] == list(contract().queues)


@pytest.mark.req("S-02")
@pytest.mark.parametrize(
    ("priority", "queue"),
    [
        (3, "critical"),
        (2, "high"),
        (1, "default"),
        (0, "low"),
        ("Critical", "critical"),
        ("normal", "default"),
        ("2", "high"),
    ],
)
def test_a_priority_is_a_number_or_a_name(priority: int | str, queue: str) -> None:
    assert contract().queue_for_priority(priority) == queue


@pytest.mark.req("S-02")
@pytest.mark.parametrize("priority", [4, -1, "urgent", ""])
def test_a_strange_priority_is_refused_with_what_is_allowed(priority: int | str) -> None:
    with pytest.raises(Invalid) as caught:
        contract().queue_for_priority(priority)
    assert "critical" in caught.value.details["allowed"]  # type: ignore[operator]


@pytest.mark.req("R-03")
def test_the_platform_profiles_are_the_guides() -> None:
    profiles = {p.name: (p.initial_s, p.max_s) for p in contract().profiles.values()}
    assert profiles == {"long": (10, 30), "medium": (5, 20), "short": (3, 15), "default": (10, 30)}
    assert contract().polling.contact_error_limit == 120
    with pytest.raises(Misconfigured):
        contract().profile("eternal")


@pytest.mark.req("R-04")
def test_the_polling_delays_are_the_guides_appendix() -> None:
    delays = {status: contract().poll_delays(status) for status in Status}
    assert delays[Status.IN_PROGRESS] == (3,)
    assert delays[Status.SUBMITTED] == delays[Status.QUEUED] == (3, 6, 12, 24, 30)
    assert delays[Status.UNKNOWN] == (5, 10, 20)
    assert not delays[Status.SUCCESS] and not delays[Status.EMPTY]
    assert contract().polling.unknown_limit == 3


@pytest.mark.req("M-02")
def test_the_guides_six_alerts_have_its_conditions_and_severities() -> None:
    written = contract().alerts
    rows = {
        name: (written[name].promql, written[name].for_s, written[name].severity)
        for name in list(written)[:6]
    }
    assert rows == {
        "QueueBacklog": ("asynq_pending_tasks > 500", 300, "warning"),
        "QueueBacklogCritical": ("asynq_pending_tasks > 2000", 300, "critical"),
        "TooManyRetries": ("asynq_retry_tasks > 50", 600, "warning"),
        "DeadLettersGrowing": ("delta(asynq_dead_tasks[1h]) > 10", 0, "warning"),
        "WorkersOffline": ("worker_count == 0", 120, "critical"),
        "Backpressure": ("backpressure_state != 0", 0, "warning"),
    }


@pytest.mark.req("M-02")
def test_every_threshold_of_every_queue_is_an_alert_and_no_name_is_used_twice() -> None:
    expressions = [alert.promql for alert in contract().queue_alerts()]
    assert len(expressions) == 12
    assert 'asynq_pending_tasks{queue="critical"} > 50' in expressions
    assert 'asynq_dead_tasks{queue="dead_letter"} > 50' in expressions
    names = [alert.name for alert in contract().all_alerts()]
    assert len(names) == len(set(names))


@pytest.mark.req("Q-01")
@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ("weight = 10,", "wait = 10,", "queues.critical.wait", "weight"),
        ("[breaker]", "[braker]", "braker", "breaker"),
        ('open          = "30s"', "open = 30", "breaker.open", "ms"),
        ('open          = "30s"', 'open = "30 sec"', "breaker.open", "ms"),
        ('queue = "dead_letter"', 'queue = "dead"', "alerts.DeadLettersPresent.queue", "low"),
        ('level = 0, queue = "low"', 'level = 0, queue = "slow"', "priorities.low.queue", "low"),
        ("IN_PROGRESS = ", "RUNNING = ", "poll_delays.RUNNING", "IN_PROGRESS"),
        ("\nlow         =", "\nslow        =", "priorities.low.queue", "slow"),
    ],
)
def test_an_unknown_key_unit_or_name_is_refused_with_what_is_allowed(
    tmp_path: Path, old: str, new: str, key: str, allowed: str
) -> None:
    refusal = _refusal(_changed(tmp_path, old, new))
    assert refusal.details["key"] == key
    assert key in refusal.message
    assert allowed in refusal.details["allowed"]  # type: ignore[operator]


@pytest.mark.req("Q-01")
@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("weight = 10,", 'weight = "10",', "queues.critical.weight"),
        ("weight = 10,", "weight = 0,", "queues.critical.weight"),
        ("weight = 10, ", "", "queues.critical"),
        ("warning = 50, ", "warning = 500, ", "queues.critical"),
        ("critical_in  = 0.90", "critical_in = 90", "backpressure.critical_in"),
        ("critical_in  = 0.90", "critical_in = 0.65", "backpressure"),
        ('over = "1h"\n', "", "alerts.DeadLettersGrowing.over"),
        ('severity = "warning"', 'severity = "grave"', "alerts.QueueBacklog.severity"),
        ('["5s",  "10s", "20s"]', "[]", "poll_delays.UNKNOWN"),
        ('UNKNOWN     = ["5s", "10s", "20s"]', "", "poll_delays.UNKNOWN"),
        ("dead_letter = { weight", 'dead_letter = { name = "x", weight', "queues.dead_letter.name"),
        ("[limits]", "[[limits]]", "limits"),
        ('lease = "9s"', 'lease = "2s"', "leases"),
    ],
)
def test_a_wrong_type_range_or_order_is_refused_by_its_key(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    if old not in PATH.read_text(encoding="utf-8"):
        old = old.replace(",  ", ", ")
    assert _refusal(_changed(tmp_path, old, new)).details["key"] == key


@pytest.mark.req("Q-01")
def test_a_file_that_is_no_toml_or_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    _refusal(_changed(tmp_path, "[queues]", "[queues"))
    _refusal(tmp_path / "missing.toml")


@pytest.mark.req("Q-01")
def test_what_was_read_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        contract().queues["new"] = contract().queue("low")  # type: ignore[index]
    with pytest.raises(AttributeError):
        contract().queue("low").weight = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("2.5s", 2.5),
        ("30m", 1_800),
        ("1h", 3_600),
        ("90d", 7_776_000),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, expected_s: float) -> None:
    assert durations.seconds(text) == expected_s
    assert durations.seconds(durations.text(expected_s)) == expected_s


@pytest.mark.parametrize("text", ["30", "30 s", "s", "-1s", "1w", "1e3s", "", 30, None, "１s"])
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        durations.seconds(text)
