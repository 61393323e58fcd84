"""The pages of tasks: the list with its tabs, filters and search, and a task."""

import pytest
from django.test import Client
from django.urls import reverse

from jobs.domain.states import State
from jobs.operations.tasks import submit
from tests.integration.admin_support import text
from tests.support.engine import in_state

pytestmark = pytest.mark.usefixtures("engine")


LIST = "/admin/jobs/task/"


@pytest.mark.req("V-03")
def test_the_list_shows_every_task_with_the_tabs_of_the_guide(root: Client) -> None:
    first, second = submit("debug:noop", user_id=3), submit("debug:echo", {"a": 1}, process_in=60)
    shown = root.get(LIST)
    page = text(shown)
    assert first.task_id in page
    assert second.task_id in page
    labels = [tab.label for tab in shown.context["tabs"]]
    assert labels == ["All", "Pending", "Active", "Scheduled", "Retry", "Archived", "Completed"]
    assert [tab.count for tab in shown.context["tabs"]] == [2, 1, 0, 1, 0, 0, 0]


@pytest.mark.req("V-03")
def test_filters_stand_in_the_address_and_narrow_the_list(root: Client) -> None:
    now = submit("debug:noop", queue="high")
    later = submit("debug:echo", process_in=60, queue="low")
    for query, found in (
        ("state=pending", now),
        ("state=scheduled", later),
        ("queue=high", now),
        ("type=debug:echo", later),
        ("status=NOT_START&queue=low", later),
    ):
        assert [t.task_id for t in root.get(f"{LIST}?{query}").context["shown"].items] == [
            found.task_id
        ]


@pytest.mark.req("V-03")
@pytest.mark.parametrize(
    "text_of_field",
    ["42", "user:42", "order-1", "business:order-1", "tag:vip", "vip", "a" * 32, "type:debug:echo"],
)
def test_search_finds_a_task_by_what_an_operator_knows_of_it(
    root: Client, text_of_field: str
) -> None:
    wanted = submit(
        "debug:echo", user_id=42, business_id="order-1", trace_id="a" * 32, tags=["vip"]
    )
    submit("debug:noop")
    shown = root.get(LIST, {"q": text_of_field})
    assert [t.task_id for t in shown.context["shown"].items] == [wanted.task_id]


@pytest.mark.req("V-03")
def test_search_by_any_id_opens_the_task(root: Client) -> None:
    made = submit("debug:noop")
    named = submit("debug:noop", task_id="my-own.id")
    for wanted, id_ in (
        (made, made.task_id),
        (made, made.job_id),
        (made, str(made.id)),
        (named, "my-own.id"),
    ):
        shown = root.get(LIST, {"q": id_}, follow=True)
        assert shown.context["task"].task_id == wanted.task_id


@pytest.mark.req("V-03")
def test_the_list_is_paged_without_losing_or_repeating_a_task(root: Client) -> None:
    made = {submit("debug:noop").task_id for _ in range(120)}
    seen: list[str] = []
    url: str | None = "?state=pending"
    while url:
        shown = root.get(LIST + url)
        seen += [t.task_id for t in shown.context["shown"].items]
        url = shown.context["older"]
    assert sorted(seen) == sorted(made)


@pytest.mark.req("V-03")
@pytest.mark.parametrize(
    "query",
    [
        "state=nonsense",
        "queue=nonsense",
        "status=x",
        "cursor=%00",
        "q=%00",
        "q=user:x",
        "q=error:%25",
    ],
)
def test_a_wrong_address_is_no_server_error(root: Client, query: str) -> None:
    assert root.get(f"{LIST}?{query}").status_code in (200, 400)


@pytest.mark.req("V-04", "V-00")
def test_the_task_page_shows_the_nine_fields_of_the_guide(root: Client) -> None:
    made = submit("debug:echo", {"password": "hunter2", "n": 1}, queue="high", process_in=60)
    page = text(root.get(f"{LIST}{made.task_id}/"))
    for name in (
        "ID",
        "Type",
        "Queue",
        "State",
        "Retried",
        "Max Retry",
        "Next Process At",
        "Payload",
        "Last Error",
    ):
        assert f"{name}</" in page
    assert made.job_id in page
    assert "hunter2" not in page


@pytest.mark.req("V-04")
def test_the_task_page_tells_attempts_events_and_ledger(root: Client) -> None:
    made = in_state(State.ARCHIVED)
    page = text(root.get(f"{LIST}{made.task_id}/"))
    assert "boom" in page
    assert "refund" in page
    assert "submitted" in page
    assert "-30" in page
    assert "+30" in page


@pytest.mark.req("V-04")
def test_the_task_page_says_why_it_is_not_running(root: Client) -> None:
    from jobs.operations import queues

    queues.pause("high", reason="maintenance")
    made = submit("debug:noop", queue="high")
    page = text(root.get(f"{LIST}{made.task_id}/"))
    assert "Queue high is paused: maintenance" in page
    assert "No living worker" in page


@pytest.mark.req("V-04")
def test_an_unknown_task_is_not_found(root: Client) -> None:
    for id_ in ("task_00000000000000000000000000", "nonsense", "job:x:0"):
        assert root.get(f"{LIST}{id_}/").status_code == 404


@pytest.mark.req("V-03")
def test_tasks_entries_and_accounts_offer_no_bulk_delete_and_no_editing(root: Client) -> None:
    from django.contrib import admin

    from jobs.models import Account, CreditEntry, Task

    for model in (Task, CreditEntry, Account):
        registered = admin.site._registry[model]
        assert registered.actions is None
        assert tuple(registered.list_editable) == ()
    answer = root.post(LIST, {"action": "delete_selected", "_selected_action": "1"})
    assert "delete_selected" not in text(answer)
    assert reverse("admin:jobs_task_changelist") == LIST


@pytest.mark.req("V-03")
def test_the_list_is_narrowed_by_tag_and_by_the_time_of_the_submit(root: Client) -> None:
    tagged, other = submit("debug:noop", tags=["urgent"]), submit("debug:noop")
    both = {tagged.task_id, other.task_id}
    for query, found in (
        ("tag=urgent", {tagged.task_id}),
        ("created_after=2020-01-01T00:00", both),
        ("created_before=2020-01-01T00:00&created_after=2019-01-01T00:00", set()),
    ):
        shown = root.get(f"{LIST}?{query}")
        assert {t.task_id for t in shown.context["shown"].items} == found
        assert shown.context["bulk"]
    assert 'name="tag" value="urgent"' in text(root.get(f"{LIST}?tag=urgent"))
    plan = root.get(f"{LIST}?created_after=2020-01-01T00:00").context["bulk"][0].url
    assert "2020-01-01 00:00:00" in text(root.get(plan)) or "2020-01-01T00:00" in text(
        root.get(plan)
    )
    assert root.get(f"{LIST}?created_after=soon").status_code == 400
