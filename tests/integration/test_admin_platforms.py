"""Platforms in the console: their forms, breakers of both levels, tasks that are UNKNOWN or lost."""

from typing import Any

import pytest
from django.test import Client

from jobs.builtin.platform_pace import BOUNDS_S, WINDOW_S, pace
from jobs.domain import ids
from jobs.lifecycle.breaker import service_name
from jobs.models import AuditEntry, Breaker, Platform
from jobs.operations import breakers, platforms, workers
from jobs.operations.platforms import PlatformSpec
from jobs.selectors import platform_silence
from jobs.store import postgres
from tests.integration.admin_support import audits, client_of, confirm_post, text
from tests.support.engine import row
from tests.support.platforms import Pump, Stubbed, ask, fact, fast, pump, register, stub

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["fast", "pump", "stub"]
NEW: dict[str, Any] = {
    "name": "p1",
    "protocol": "replicate",
    "base_url": "https://api.example.com/v1",
    "credential": "r8_very_secret",
    "profile": "default",
    "time_limit": 600,
    "options": "{}",
    "rate_per_s": 5,
    "reason": "contract signed",
}


@pytest.fixture
def operator(engine: None) -> Client:
    return client_of("operator")


@pytest.mark.req("V-08", "T-06")
def test_an_operator_registers_a_platform_and_changes_it_and_no_secret_is_written_down(
    operator: Client,
) -> None:
    assert confirm_post(operator, "/admin/jobs/platform/+new/", **NEW).status_code == 302
    made = Platform.objects.get()
    assert (made.name, made.rate_per_s, made.time_limit_s) == ("p1", 5.0, 600)
    assert platforms.settings_by_name("p1").config.credential == "r8_very_secret"
    edit = {**NEW, "credential": "", "time_limit": 900, "options": '{"two_phase_cancel": true}'}
    assert confirm_post(operator, "/admin/jobs/platform/p1/settings/", **edit).status_code == 302
    made.refresh_from_db()
    assert (made.time_limit_s, made.options) == (900, {"two_phase_cancel": True})
    assert platforms.settings_by_name("p1").config.credential == "r8_very_secret"
    confirm_post(operator, "/admin/jobs/platform/p1/settings/", **{**edit, "rate_per_s": ""})
    made.refresh_from_db()
    assert made.rate_per_s is None
    assert "r8_very_secret" not in str(list(AuditEntry.objects.values()))
    assert "r8_very_secret" not in text(operator.get("/admin/jobs/platform/p1/settings/"))


@pytest.mark.req("V-08")
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "P 1"}, "name"),
        ({"name": "taken"}, "name"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"protocol": "telepathy"}, "protocol"),
        ({"time_limit": 0}, "time_limit"),
        ({"options": "[1]"}, "options"),
        ({"options": "{"}, "options"),
        ({"price": -1}, "price"),
    ],
)
def test_what_is_wrong_with_a_platform_is_said_at_its_field_and_nothing_typed_is_lost(
    operator: Client, wrong: dict[str, Any], field: str
) -> None:
    platforms.create(PlatformSpec(name="taken", protocol="fal", base_url="https://x.example"))
    answer = operator.post("/admin/jobs/platform/+new/", {**NEW, **wrong})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert "contract signed" in text(answer)
    assert "r8_very_secret" not in text(answer)
    assert Platform.objects.count() == 1


@pytest.mark.req("V-08", "T-03", "T-05")
def test_only_admins_allow_private_addresses(operator: Client) -> None:
    private = {**NEW, "allow_private": "on"}
    confirm_post(operator, "/admin/jobs/platform/+new/", **private)
    assert not Platform.objects.exists()
    assert audits("platform.create", refused=True)
    confirm_post(client_of("admin"), "/admin/jobs/platform/+new/", **private)
    assert Platform.objects.get().allow_private


@pytest.mark.req("V-08", "T-04")
def test_a_masked_option_is_not_stored_as_stars(operator: Client) -> None:
    spec = PlatformSpec(name="p1", protocol="fal", base_url="https://x.example")
    platforms.create(spec)
    Platform.objects.update(options={"api_key": "k3y", "n": 1})
    url, same = "/admin/jobs/platform/p1/settings/", {**NEW, "base_url": "https://x.example"}
    same |= {"protocol": "fal", "credential": ""}
    shown = '{"api_key": "********", "n": 1}'
    assert confirm_post(operator, url, **{**same, "options": shown}).status_code == 302
    assert Platform.objects.get().options == {"api_key": "k3y", "n": 1}
    answer = operator.post(url, {**same, "options": shown.replace("1", "2")})
    assert list(answer.context["form"].errors) == ["options"]


@pytest.mark.req("V-08", "E-05", "T-06")
def test_breakers_of_platforms_and_of_services_are_forced_with_reason_and_expiry_and_released(
    operator: Client,
) -> None:
    platforms.create(PlatformSpec(name="p1", protocol="fal", base_url="https://x.example"))
    listed = text(operator.get("/admin/jobs/breaker/"))
    for name in ("platform:p1", "service:x.example"):
        assert name in listed
        url = f"/admin/jobs/breaker/{name}/"
        assert operator.post(f"{url}open/", {"minutes": 5}).status_code == 422
        confirm_post(operator, f"{url}open/", reason="they are down", minutes=5)
        held = Breaker.objects.get(name=name)
        assert (held.forced, held.forced_until is not None) == ("OPEN", True)
    assert breakers.admit("p1", "service:x.example", 1).allowed == 0
    for name in ("platform:p1", "service:x.example"):
        confirm_post(operator, f"/admin/jobs/breaker/{name}/release/")
        assert Breaker.objects.get(name=name).forced is None
    assert [e.target for e in audits("breaker.open")] == ["platform:p1", "service:x.example"]
    assert operator.get("/admin/jobs/breaker/service:nobody/open/").status_code == 404
    viewer = client_of("viewer")
    assert viewer.get("/admin/jobs/breaker/service:x.example/open/").status_code == 403


def _age(task: Any, minutes: int) -> None:
    postgres.query(
        "UPDATE platform_task SET silent_since = silent_since - %s * interval '1 minute'"
        " WHERE task_id = %s RETURNING 1",
        [minutes, task.id],
    )


@pytest.mark.req("V-08", "E-03", "R-04")
def test_a_silence_begins_with_the_first_answer_that_is_not_understood_and_ends_with_a_clear_one(
    stub: Stubbed, pump: Pump, fast: None
) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    assert fact(made, "silent_since") is None
    stub.app.down = True
    pump.until(lambda: fact(made, "contact_errors") >= 2)
    began = fact(made, "silent_since")
    assert began is not None
    pump.until(lambda: fact(made, "contact_errors") >= 3)
    assert fact(made, "silent_since") == began
    stub.app.down = False
    pump.until(lambda: fact(made, "silent_since") is None)


@pytest.mark.req("V-08")
def test_the_page_shows_the_platforms_words_beside_ours_and_what_may_be_done(
    operator: Client, stub: Stubbed, pump: Pump, fast: None
) -> None:
    quiet, clear = ask(seconds=60), ask(seconds=60)
    pump.until(lambda: fact(quiet, "external_id") is not None)
    postgres.query(
        "UPDATE platform_task SET silent_since = clock_timestamp(), raw_status = 'limbo',"
        ' answer = \'{"state": "limbo", "token": "hush"}\' WHERE task_id = %s RETURNING 1',
        [quiet.id],
    )
    page, alarm = (
        "/admin/jobs/platform/+unknown/",
        "UNKNOWN on their platform for more than 15 minutes",
    )
    assert operator.get(page).context["lines"] == []
    postgres.query("UPDATE task SET status = 6 WHERE id = %s RETURNING 1", [quiet.id])
    _age(quiet, 14)
    assert alarm not in text(operator.get("/admin/"))
    _age(quiet, 2)
    assert alarm in text(operator.get("/admin/"))
    shown = operator.get(page)
    [line] = shown.context["lines"]
    assert line["view"].task.task_id == quiet.task_id
    assert "limbo" in text(shown)
    assert "hush" not in text(shown)
    assert clear.task_id not in text(shown)
    assert "run" in [b.url.split("/")[-2] for b in line["buttons"]]
    assert "more than 15 minutes: 1" in text(operator.get("/admin/jobs/platform/"))
    assert operator.get(f"{page}?platform=stub&minutes=60").context["lines"] == []
    assert operator.get(f"{page}?platform=nobody").status_code == 404
    assert operator.get(f"{page}?minutes=soon").status_code == 404
    _age(quiet, -16)
    for minutes, count in (("0", 1), ("", 0)):
        asked = operator.get(f"{page}?minutes={minutes}")
        assert len(asked.context["lines"]) == count
    assert "<option selected>0</option>" in text(operator.get(f"{page}?minutes=0"))


@pytest.mark.req("V-08")
def test_a_long_silence_is_paged_and_given_up_tasks_are_listed_apart(
    operator: Client, stub: Stubbed, pump: Pump, fast: None
) -> None:
    made = [ask(seconds=60) for _ in range(3)]
    pump.until(lambda: all(fact(task, "external_id") is not None for task in made))
    for nr, task in enumerate(made):
        postgres.query(
            "UPDATE platform_task SET silent_since = clock_timestamp() WHERE task_id = %s RETURNING 1",
            [task.id],
        )
        _age(task, 20 + nr)
    first = platform_silence.silent(limit=2)
    rest = platform_silence.silent(limit=2, after=first.next_cursor)
    assert [v.id for v in (*first.items, *rest.items)] == [task.id for task in reversed(made)]
    assert (first.estimated_total, rest.next_cursor) == (3, None)
    confirm_post(client_of("finance"), _cancel_url(made[0]), reason="gone over there")
    assert row(made[0].id, "state") == 6
    shown = operator.get("/admin/jobs/platform/+unknown/")
    assert [line["view"].id for line in shown.context["ended"]] == [made[0].id]


@pytest.mark.req("V-08")
def test_what_never_left_or_was_refused_is_not_told_as_perhaps_carried_out(
    operator: Client, stub: Stubbed, pump: Pump, fast: None
) -> None:
    register("expired", stub.server.base_url, credential="wrong")
    never, refused = ask("expired"), ask(on_create="422")
    pump.until(lambda: fact(never, "silent_since") is not None)
    postgres.query("UPDATE platform_task SET expires_at = clock_timestamp() RETURNING 1")
    pump.ends(never, refused)
    shown = operator.get("/admin/jobs/platform/+unknown/")
    assert shown.context["ended"] == []


def _cancel_url(task: Any) -> str:
    return f"/admin/jobs/task/{task.task_id}/cancel/"


@pytest.mark.req("V-04", "V-08", "E-05")
def test_a_waiting_tasks_page_names_both_breakers_who_holds_them_until_when_and_why(
    operator: Client, stub: Stubbed
) -> None:
    made = ask(seconds=600)
    url = f"/admin/jobs/task/{ids.public_id(made.id)}/"
    service = service_name(stub.server.base_url)
    confirm_post(operator, f"/admin/jobs/breaker/{service}/open/", reason="their outage", minutes=5)
    breakers.force("stub", "OPEN", by="key:night", reason="credit used up")
    said = text(operator.get(url))
    who = Breaker.objects.get(name=service).forced_by
    assert who.startswith("user:")
    for words in (service, who, "their outage", "platform:stub", "key:night", "credit used up"):
        assert words in said
    assert f"{Breaker.objects.get(name=service).forced_until:%Y-%m-%d %H:%M:%S}" in said
    assert "until it is released" in said
    Breaker.objects.update(forced_until="2020-01-01T00:00:00Z")
    over = text(operator.get(url))
    assert "their outage" not in over
    assert "key:night" not in over


@pytest.mark.req("V-08", "E-02")
def test_all_that_is_wrong_with_a_platform_is_said_in_one_pass_at_its_fields(
    operator: Client,
) -> None:
    wrong = {
        **NEW,
        "protocol": "kling",
        "base_url": "https://x.example/?a=1",
        "credential": "only-an-access-key",
        "time_limit": 0,
        "options": '{"pool_first_s": 1, "partial_refund": "no"}',
    }
    answer = operator.post("/admin/jobs/platform/+new/", wrong)
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert set(errors) == {"base_url", "credential", "time_limit", "options"}
    assert len(errors["options"]) == 2
    assert "only-an-access-key" not in text(answer)
    fewer = operator.post("/admin/jobs/platform/+new/", {**wrong, "time_limit": 9})
    assert set(fewer.context["form"].errors) == {"base_url", "credential", "options"}
    assert not Platform.objects.exists()
    platforms.create(PlatformSpec(name="p1", protocol="fal", base_url="https://x.example"))
    edit = operator.post("/admin/jobs/platform/p1/settings/", wrong)
    assert set(edit.context["form"].errors) == {"base_url", "credential", "time_limit", "options"}


@pytest.mark.req("V-08")
def test_a_platforms_page_tells_poll_latency_error_rate_and_tasks_by_status(
    operator: Client, stub: Stubbed, pump: Pump, fast: None
) -> None:
    assert "Nobody has asked it" in text(operator.get("/admin/jobs/platform/stub/"))
    pace.forget()
    over_there = [ask(seconds=60) for _ in range(2)]
    pump.until(lambda: all((fact(task, "polls") or 0) > 1 for task in over_there))
    stub.app.down = True
    failed = ask(seconds=60)
    pump.until(lambda: (fact(failed, "contact_errors") or 0) > 0)
    stub.app.down = False
    number = Platform.objects.get(name="stub").pk
    told = pace.told()[str(number)]
    assert told["nothing"] >= 1
    assert sum(told["polls_s"]) >= 2
    says = {"platforms": pace.told(), "pace": {"window_s": WINDOW_S, "bounds_s": BOUNDS_S}}
    for name in ("w1", "w2"):
        workers.register(name, says)
    shown = operator.get("/admin/jobs/platform/stub/").context
    both = sum(told[heard] for heard in ("good", "refused", "nothing")) * 2
    assert (shown["pace"].requests, shown["pace"].workers) == (both, 2)
    assert shown["pace"].failed == told["nothing"] * 2
    assert 0 < shown["pace"].errors_percent < 100
    assert 0 < shown["pace"].mean_s < 5
    assert [part.percent for part in shown["pace"].slow] == [50, 95, 99]
    assert sum(part.count for part in shown["statuses"]) >= 2
