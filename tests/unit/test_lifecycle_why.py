"""Why isn't it running?"""

from dataclasses import replace

import pytest

from jobs.domain.states import State, Status
from jobs.lifecycle.why import HoldingBreaker, WhyFacts, why_not_running

WAITS = WhyFacts(
    state=State.PENDING,
    status=Status.NOT_START,
    queue="default",
    type="email:deliver",
    now_s=1_000,
    live_workers=2,
    free_slots=3,
)


def _codes(**changes: object) -> list[str]:
    return [reason.code for reason in why_not_running(replace(WAITS, **changes))]  # type: ignore[arg-type]


@pytest.mark.req("V-04")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "next"),
        ({"free_slots": 0}, "busy"),
        ({"ahead": 7}, "queued"),
        ({"redis_connected": False}, "fallback"),
        ({"stopped": True}, "stopped"),
        ({"consumption_off": True}, "off"),
        ({"paused": True}, "paused"),
        ({"live_workers": 0}, "no_worker"),
        ({"handler_known": False}, "no_handler"),
        ({"limit_key": "user:7"}, "limit"),
        ({"state": State.AGGREGATING, "limit_key": "user:7"}, "limit"),
        ({"breakers": (HoldingBreaker(name="kling", wait_s=12.2),)}, "breaker"),
        ({"breakers": (HoldingBreaker(name="kling", forced=True),)}, "breaker_forced"),
        ({"platform_disabled": "kling"}, "platform_disabled"),
        ({"parked": True}, "parked"),
        ({"ambiguous": True, "state": State.RETRY, "run_at_s": 1_060}, "ambiguous"),
        ({"deadline_s": 999}, "deadline"),
        ({"state": State.SCHEDULED, "run_at_s": 1_060}, "delayed"),
        ({"state": State.RETRY, "run_at_s": 1_060}, "retry"),
        ({"state": State.RETRY, "run_at_s": 990}, "due"),
        ({"state": State.AGGREGATING}, "waiting"),
        ({"state": State.ACTIVE}, "active"),
        ({"state": State.COMPLETED, "status": Status.SUCCESS}, "ended"),
        ({"state": State.ARCHIVED, "status": Status.FAILURE}, "dead"),
        ({"state": State.ARCHIVED}, "archived"),
    ],
)
def test_each_hindrance_is_named(changes: dict[str, object], code: str) -> None:
    assert _codes(**changes) == [code]


@pytest.mark.req("V-04")
def test_all_hindrances_are_told_hardest_first() -> None:
    codes = _codes(paused=True, live_workers=0, state=State.RETRY, run_at_s=1_030, stopped=True)
    assert codes == ["stopped", "paused", "no_worker", "retry"]


@pytest.mark.req("V-04")
def test_the_texts_say_the_numbers() -> None:
    [queued] = why_not_running(replace(WAITS, ahead=30, starts_per_s=10))
    assert queued.text == "Tasks before it: 30, about 3 s."
    [paused] = why_not_running(replace(WAITS, paused=True, paused_reason="deploy 100%"))
    assert paused.text == "Queue default is paused: deploy 100%"
    [full] = why_not_running(replace(WAITS, limit_key="k", limit_running=3, limit_most=3))
    assert full.text == "It waits for a free place of k: 3 of 3 are taken."
    [slow] = why_not_running(replace(WAITS, limit_key="k", limit_running=1, limit_rate="9/m"))
    assert slow.text == "It waits for its turn of k: at most 9/m start."
