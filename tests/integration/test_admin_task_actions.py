"""What the task pages do: the actions of each state, confirmed, audited, refused."""

from uuid import UUID

import pytest
from django.test import Client
from pytest_django import Settings

from jobs.domain.states import State, Status
from jobs.operations import actions
from jobs.selectors import tasks
from jobs.selectors.task_view import TaskView
from tests.integration.admin_support import act_url, audits, client_of, confirm_post, text
from tests.support.engine import balance, in_state, row

pytestmark = pytest.mark.usefixtures("engine")


LIST = "/admin/jobs/task/"


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


@pytest.mark.req("T-06", "C-02")
def test_a_redrive_between_look_and_lock_lets_no_operator_cause_a_refund(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = in_state(State.ARCHIVED)
    looked = tasks.get

    def redriven_after(id_: UUID, tenant_id: int) -> TaskView:
        view = looked(id_, tenant_id)
        if view.state == State.ARCHIVED.wire:
            actions.run_now(id_, actor="somebody else", tenant_id=tenant_id)
        return view

    monkeypatch.setattr("queues_admin.admin.task_actions.tasks.get", redriven_after)
    client = client_of("operator")
    client.post(
        act_url(made.task_id, "delete"), {"reason": "mine", "seen": "pending", "confirm": "yes"}
    )
    assert row(made.id, "state") == State.PENDING
    assert balance(7) == 70
