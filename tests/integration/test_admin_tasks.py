"""The back office's tasks: list, search, page, actions."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from jobs.domain.states import State, Status
from jobs.operations import actions, credits, tickets
from jobs.operations.tasks import Submitted, submit
from tests.integration.admin_support import act_url, audits, client_of, confirm_post, text
from tests.support.engine import Hand, balance, dead, retried, row, succeeded

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/jobs/task/"


@pytest.fixture(autouse=True)
def _fresh_redis(redis: Any) -> None:
    tickets.forget()


@pytest.fixture
def root() -> Client:
    return client_of("root")


def charged(**options: Any) -> Submitted:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    return submit("debug:noop", user_id=7, credits=30, **options)


def in_state(state: State, **options: Any) -> Submitted:
    """A charged task that the engine brought into this state."""
    if state is State.SCHEDULED:
        return charged(process_in=600, **options)
    made = charged(**options)
    if state is State.PENDING:
        return made
    hand = Hand()
    claimed = hand.claim()
    make = {State.RETRY: retried, State.ARCHIVED: dead, State.COMPLETED: succeeded}.get(state)
    if make is not None:
        hand.settle(claimed, make)
    assert row(made.id, "state") == state
    return made


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


@pytest.mark.req("Q-03", "V-04")
@pytest.mark.parametrize(
    ("state", "labels"),
    [
        (State.PENDING, ["Cancel", "Archive", "Run", "Delete"]),
        (State.ACTIVE, ["Cancel"]),
        (State.SCHEDULED, ["Cancel", "Archive", "Run Now", "Delete"]),
        (State.RETRY, ["Cancel", "Archive", "Run Now", "Delete"]),
        (State.ARCHIVED, ["Run", "Delete"]),
        (State.COMPLETED, ["Delete"]),
    ],
)
def test_each_state_offers_the_actions_of_the_table(
    root: Client, state: State, labels: list[str]
) -> None:
    made = in_state(state)
    shown = root.get(f"{LIST}{made.task_id}/")
    assert [button.label for button in shown.context["buttons"]] == labels


@pytest.mark.req("Q-03", "T-06", "C-02")
def test_cancel_says_its_effect_refunds_and_is_audited(root: Client) -> None:
    made = in_state(State.SCHEDULED)
    url = act_url(made.task_id, "cancel")
    page = text(root.get(url))
    assert "30 credits go back to user 7" in page
    assert "scheduled → completed" in page
    assert row(made.id, "state") == State.SCHEDULED
    answer = confirm_post(root, url, reason="the customer called")
    assert answer.status_code == 302
    assert row(made.id, "state", "status") == (State.COMPLETED, Status.CANCELLED)
    assert balance(7) == 100
    [entry] = audits("task.cancel")
    assert (entry.actor, entry.reason, entry.target) == (
        "user:root",
        "the customer called",
        made.task_id,
    )
    assert entry.before is not None
    assert entry.before["state"] == "scheduled"
    assert entry.after is not None
    assert entry.after["refunded"] is True
    assert entry.address == "127.0.0.1"


@pytest.mark.req("C-04")
def test_cancel_of_a_running_task_is_a_request(root: Client) -> None:
    made = in_state(State.ACTIVE)
    confirm_post(root, act_url(made.task_id, "cancel"), reason="too slow")
    assert row(made.id, "state", "cancel") == (State.ACTIVE, 1)
    confirm_post(root, act_url(made.task_id, "cancel"), reason="now", force="on")
    assert row(made.id, "state") == State.COMPLETED
    assert balance(7) == 100


@pytest.mark.req("T-06")
def test_cancel_without_a_reason_changes_nothing(root: Client) -> None:
    made = in_state(State.PENDING)
    answer = confirm_post(root, act_url(made.task_id, "cancel"), reason="  ")
    assert answer.status_code == 422
    assert row(made.id, "state") == State.PENDING


@pytest.mark.req("Q-03")
def test_run_now_archive_and_delete_do_what_they_say(root: Client) -> None:
    made = in_state(State.SCHEDULED)
    confirm_post(root, act_url(made.task_id, "run"))
    assert row(made.id, "state") == State.PENDING
    confirm_post(root, act_url(made.task_id, "archive"))
    assert row(made.id, "state") == State.ARCHIVED
    confirm_post(root, act_url(made.task_id, "delete"), reason="of no use")
    assert row(made.id, "id") is None
    assert balance(7) == 100
    assert [
        e.action for e in audits("task.run") + audits("task.archive") + audits("task.delete")
    ] == [
        "task.run",
        "task.archive",
        "task.delete",
    ]


@pytest.mark.req("Q-07", "C-02")
def test_a_redrive_says_that_it_charges_again(root: Client) -> None:
    made = in_state(State.ARCHIVED)
    assert balance(7) == 100
    url = act_url(made.task_id, "run")
    assert "charged 30 credits again" in text(root.get(url))
    confirm_post(root, url)
    assert row(made.id, "state") == State.PENDING
    assert balance(7) == 70


@pytest.mark.req("Q-03")
def test_a_state_that_changed_since_the_confirmation_refuses(root: Client) -> None:
    made = in_state(State.SCHEDULED)
    url = act_url(made.task_id, "run")
    hidden = {f.name: f.value() for f in root.get(url).context["form"].hidden_fields()}
    actions.archive(made.id, actor="somebody else")
    answer = root.post(url, hidden, follow=True)
    assert "changed meanwhile" in text(answer)
    assert row(made.id, "state") == State.ARCHIVED
    assert [e.target for e in audits("task.redrive", refused=True)] == [made.task_id]


@pytest.mark.req("Q-03")
def test_an_action_that_the_state_forbids_is_refused_and_audited(root: Client) -> None:
    made = in_state(State.COMPLETED)
    root.post(act_url(made.task_id, "cancel"), {"reason": "x", "seen": "completed"})
    assert row(made.id, "status") == Status.SUCCESS
    assert len(audits("task.cancel", refused=True)) == 1


@pytest.mark.req("V-12", "S12")
def test_nothing_changes_by_get(root: Client) -> None:
    made = in_state(State.SCHEDULED)
    for verb in ("run", "archive", "delete", "cancel"):
        root.get(act_url(made.task_id, verb), {"reason": "x", "seen": "scheduled"})
    assert row(made.id, "state") == State.SCHEDULED


@pytest.mark.req("V-12", "S12")
def test_a_post_without_its_csrf_token_is_refused() -> None:
    made = in_state(State.SCHEDULED)
    trusting = client_of("root")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = trusting.cookies
    answer = strict.post(act_url(made.task_id, "run"), {"seen": "scheduled"})
    assert answer.status_code == 403
    assert row(made.id, "state") == State.SCHEDULED


@pytest.mark.req("A-06")
def test_a_read_only_center_refuses_every_action(root: Client, settings: Settings) -> None:
    made = in_state(State.SCHEDULED)
    settings.ASYNQ_READONLY = True
    assert root.get(f"{LIST}{made.task_id}/").context["buttons"] == []
    answer = root.post(act_url(made.task_id, "run"), {"seen": "scheduled"})
    assert answer.status_code == 403
    assert row(made.id, "state") == State.SCHEDULED
    assert len(audits("task.run", refused=True)) == 1


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
