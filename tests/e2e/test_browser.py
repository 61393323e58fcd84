"""What an operator sees and clicks, in a real browser against a real web server and worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from jobs.operations import credits, platforms, queues, schedules, tickets
from jobs.operations.platforms import PlatformSpec
from jobs.operations.tasks import submit
from jobs.store import catalog, postgres
from tests.integration.plan_support import draft
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "a-long-pass-phrase"


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """Playwright's loop runs in this thread; Django is told that nothing here is concurrent for all that."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        opened = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, live: str) -> Iterator[Page]:
    """A logged-in operator's page; anything the browser complains of fails the test."""
    tickets.forget()
    users = get_user_model().objects
    users.create_superuser("ops", password=PASSWORD)
    context = browser.new_context(base_url=live)
    context.set_default_timeout(10_000)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.extend(_complaint(message)))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto("/admin/")
    opened.get_by_label("Username").fill("ops")
    opened.get_by_label("Password").fill(PASSWORD)
    opened.get_by_role("button", name="Log in").click()
    yield opened
    context.close()
    assert complaints == []


@pytest.mark.req("V-03", "V-04")
def test_an_operator_logs_in_and_sees_a_task_finish(page: Page, processes: Processes) -> None:
    made = submit("debug:echo", {"greeting": "hello"}, user_id=42)
    page.get_by_role("link", name="Tasks", exact=True).first.click()
    page.get_by_role("link", name=made.task_id).click()
    expect(page.get_by_text("No living worker serves queue default.")).to_be_visible()
    processes.manage("rqworker")
    eventually(lambda: page.reload() and page.locator(".tc-state-completed").count(), timeout_s=20)
    expect(page.locator(".tc-status-success")).to_be_visible()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    page.get_by_role("link", name="Queues", exact=True).first.click()
    expect(page.get_by_role("row", name="default")).to_be_visible()


@pytest.mark.req("C-04", "V-04", "T-06")
def test_an_operator_cancels_a_charged_task_with_a_reason(page: Page) -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    made = submit("debug:noop", user_id=7, credits=40, process_in=600)
    page.goto("/admin/jobs/task/?state=scheduled")
    page.get_by_role("link", name=made.task_id).click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_text("40 credits go back to user 7.")).to_be_visible()
    page.get_by_label("Reason").fill("asked by the customer")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("40 credits went back to user 7")).to_be_visible()
    expect(page.get_by_text("CANCELLED").first).to_be_visible()
    page.get_by_role("link", name="Audit log").first.click()
    expect(page.get_by_text("asked by the customer")).to_be_visible()


@pytest.mark.req("V-02", "V-00")
def test_an_operator_pauses_a_queue_and_resumes_it(page: Page) -> None:
    page.get_by_role("link", name="Queues", exact=True).first.click()
    page.get_by_role("row", name="low").get_by_role("link", name="Pause").click()
    page.get_by_label("Reason").fill("maintenance")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("row", name="low").get_by_text("paused")).to_be_visible()
    page.get_by_role("row", name="low").get_by_role("link", name="Resume").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("row", name="low").get_by_text("running")).to_be_visible()


@pytest.mark.req("V-03", "V-14")
@pytest.mark.parametrize("width", [1280, 390])
def test_tasks_are_ticked_and_planned_with_the_keyboard_alone(page: Page, width: int) -> None:
    made = [submit("debug:noop", queue="low") for _ in range(3)]
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/admin/jobs/task/?queue=low")
    page.get_by_label(f"Select {made[0].task_id}").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=made[0].task_id)).to_be_focused()
    button = page.get_by_role("button", name="Archive", exact=True)
    expect(button).to_be_in_viewport()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 selected task")).to_be_visible()
    page.get_by_role("link", name="Back, change nothing").click()
    page.get_by_role("link", name="Tick all on this page").click()
    assert page.get_by_role("checkbox", checked=True).count() == 3
    page.get_by_role("button", name="Archive", exact=True).click()
    page.get_by_label("Reason").fill("all of them")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("link", name=made[2].task_id)).to_be_visible()


PAGES = (
    "/admin/",
    "/admin/jobs/queue/",
    "/admin/jobs/queue/redis/",
    "/admin/jobs/queue/low/pause/",
    "/admin/jobs/worker/",
    "/admin/jobs/schedule/",
    "/admin/jobs/task/",
    "/admin/jobs/plan/",
    "/admin/jobs/platform/",
    "/admin/jobs/breaker/",
    "/admin/jobs/account/",
    "/admin/jobs/creditentry/",
    "/admin/jobs/auditentry/",
    "/admin/jobs/apikey/",
    "/admin/jobs/apikey/new/",
)


@pytest.mark.req("V-14")
def test_every_page_fits_a_phone_and_breaks_no_content_policy(page: Page) -> None:
    queues.pause("low", reason="so that pages have something to say")
    submit("debug:noop", tags=["a-tag"])
    page.set_viewport_size({"width": 390, "height": 844})
    for path in PAGES:
        answer = page.goto(path)
        assert answer is not None, path
        assert answer.ok, path
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, path


@pytest.mark.req("V-14", "V-05", "V-06")
def test_on_a_phone_no_table_scrolls_sideways_and_no_label_covers_the_next(
    page: Page, processes: Processes
) -> None:
    made = submit("debug:noop", queue="low", user_id=7)
    schedules.create(name="a nightly look at everything", cron="0 3 * * *", type="debug:noop")
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    plan = draft("archive", {"queue": "low"}).pk
    processes.manage("rqworker", "critical").wait_for("Polling system initialized")
    page.set_viewport_size({"width": 390, "height": 844})
    for path in (*PAGES, f"/admin/jobs/plan/{plan}/", f"/admin/jobs/task/{made.task_id}/"):
        page.goto(path)
        wide = page.locator(".tc-scroll").evaluate_all(
            "all => Math.max(0, ...all.map(e => e.scrollWidth - e.clientWidth))"
        )
        assert wide == 0, path
        short = page.locator(".tc-cards td[data-label]").evaluate_all(
            "all => all.filter(e => { const label = getComputedStyle(e, '::before').height;"
            " return parseFloat(label) > e.clientHeight; }).length"
        )
        assert short == 0, path


def _complaint(message: ConsoleMessage) -> list[str]:
    return [message.text] if message.type == "error" else []


@pytest.mark.req("V-14")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_queues_and_tasks_are_cards_and_nothing_sticks_out(
    page: Page, scheme: Literal["light", "dark"]
) -> None:
    made = submit("debug:noop", {"n": 1})
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    for address in ("queue/", "task/", "tenant/", "auditentry/", "platform/+new/"):
        page.goto(f"/admin/jobs/{address}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, address
    page.goto("/admin/jobs/task/")
    cell = page.locator(".tc-cards tr", has_text=made.task_id).locator("td").first
    shown = "getComputedStyle(e, '::before').content"
    assert cell.evaluate(f"e => {shown}") == '"Type"'
    assert page.locator(".tc-scroll").evaluate("e => e.scrollWidth - e.clientWidth") == 0
    page.goto("/admin/jobs/queue/")
    assert page.locator(".tc-scroll").evaluate("e => e.scrollWidth - e.clientWidth") == 0


@pytest.mark.req("V-14", "V-08")
def test_the_page_of_unknown_tasks_shows_its_actions_on_a_small_screen(page: Page) -> None:
    spec = PlatformSpec(name="a-platform-of-theirs", protocol="fal", base_url="https://x.test")
    platforms.create(spec)
    catalog.forget()
    submit("platform:run", {}, platform=spec.name)
    postgres.query(
        "UPDATE platform_task SET external_id = '6a1ed4f5-1a53-4b0c-9a6b-0f4bf9d2c111', raw_status = 'pondering',"
        " silent_since = now() - interval '1 hour', submit_started_at = now(), contact_errors = 7 RETURNING 1"
    )
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("/admin/jobs/platform/+unknown/")
    assert page.get_by_text("pondering").is_visible()
    wide = page.locator(".tc-scroll").evaluate_all(
        "all => Math.max(0, ...all.map(e => e.scrollWidth - e.clientWidth))"
    )
    assert wide == 0
