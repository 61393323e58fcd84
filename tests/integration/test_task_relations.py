"""What waits for what, seen from both sides: in the view, the list, the command and the console."""

import json
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.urls import reverse

from jobs.domain import ids
from jobs.operations import actions, groups, tickets
from jobs.operations.tasks import submit
from jobs.selectors import tasks
from jobs.selectors.task_filters import TaskFilter
from jobs.store import postgres
from tests.integration.admin_support import client_of, text
from tests.support.cli import run
from tests.support.engine import Hand, dead, succeeded

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_redis(redis: Any) -> None:
    tickets.forget()


@pytest.fixture
def root() -> Client:
    return client_of("root")


def page_of(root: Client, task_id: str) -> str:
    return text(root.get(reverse("admin:jobs_task_change", args=[task_id])))


@pytest.mark.req("S-10")
def test_a_task_behind_a_dead_letter_says_for_whom_it_waits_and_the_dead_letter_who_waits() -> None:
    first, other = submit("debug:noop"), submit("debug:noop", task_id="own-name", process_in=60)
    last = submit("debug:noop", after=[first.task_id, "own-name"])
    hand = Hand()
    hand.settle(hand.claim(1), dead)
    view = tasks.get(last.id)
    assert [(t.task_id, t.state, t.status) for t in view.after or ()] == [
        (first.task_id, "archived", "FAILURE"),
        ("own-name", "scheduled", "NOT_START"),
    ]
    assert [t.task_id for t in tasks.get(first.id).awaited_by or ()] == [last.task_id]
    assert [t.task_id for t in tasks.get(other.id).awaited_by or ()] == [last.task_id]


@pytest.mark.req("S-10")
def test_what_has_succeeded_is_waited_for_no_longer_and_says_nothing() -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    hand = Hand()
    hand.settle(hand.claim(1), succeeded)
    told = json.dumps([_plain(first.id), _plain(last.id)])
    assert '"after"' not in told
    assert '"awaited_by"' not in told


@pytest.mark.req("V-04")
def test_the_console_links_a_waiting_task_with_its_dead_predecessor_both_ways(
    root: Client,
) -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    hand = Hand()
    hand.settle(hand.claim(1), dead)
    waiting = page_of(root, last.task_id)
    assert f"It waits for {first.task_id}, a dead letter" in waiting
    assert f'href="{reverse("admin:jobs_task_change", args=[first.task_id])}"' in waiting
    assert f'href="{reverse("admin:jobs_task_change", args=[last.task_id])}"' in page_of(
        root, first.task_id
    )


@pytest.mark.req("S-10")
def test_inspect_tells_what_a_task_waits_for() -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    told = run("tasks", "inspect", last.task_id)
    assert f"{first.task_id} (pending)" in told
    assert f"{last.task_id} (aggregating)" in run("tasks", "inspect", first.task_id)


@pytest.mark.req("S-10")
def test_a_failed_parent_leads_to_its_failed_shards_and_they_to_it(root: Client) -> None:
    parent = submit("debug:fanout", {"shards": 3}, task_id="my-parent")
    stranger = submit("debug:noop")
    hand = Hand()
    claimed = [r for r in hand.claim() if r.id != str(stranger.id)]
    hand.settle(claimed[:1], dead)
    hand.settle(claimed[1:], succeeded)
    of_parent = tasks.listing(TaskFilter(parent=parent.task_id))
    assert {t.task_id for t in of_parent.items} == {ids.public_id(r.id) for r in claimed}
    failed = tasks.listing(TaskFilter(parent=parent.task_id, status="FAILURE"))
    assert [t.task_id for t in failed.items] == [ids.public_id(claimed[0].id)]
    assert failed.items[0].parent_id == "my-parent"
    page, shard = (
        page_of(root, ids.public_id(parent.id)),
        page_of(root, ids.public_id(claimed[0].id)),
    )
    assert "?parent=my-parent&amp;status=FAILURE" in page
    assert f'href="{reverse("admin:jobs_task_change", args=[ids.public_id(parent.id)])}"' in shard
    shown = root.get("/admin/jobs/task/?parent=my-parent&status=FAILURE")
    assert [t.task_id for t in shown.context["shown"].items] == [ids.public_id(claimed[0].id)]
    assert 'name="parent" value="my-parent"' in text(shown)


@pytest.mark.req("S-10")
def test_a_member_has_no_parent_until_its_group_is_collected() -> None:
    member = submit("debug:collect", {"n": 1}, group="mails")
    assert "parent_id" not in _plain(member.id)
    postgres.query("UPDATE task SET ord = ord - 3600000000 WHERE state = 7 RETURNING 1")
    groups.collect()
    [made] = tasks.listing(TaskFilter(state="pending")).items
    assert _plain(member.id)["parent_id"] == made.task_id


@pytest.mark.req("S-10")
def test_the_view_of_many_who_wait_stays_short() -> None:
    first = submit("debug:noop")
    for _ in range(25):
        submit("debug:noop", after=[first.task_id])
    assert len(tasks.get(first.id).awaited_by or ()) == 20


@pytest.mark.req("V-04")
def test_the_console_counts_all_that_a_task_waits_for(root: Client) -> None:
    many = [submit("debug:noop").task_id for _ in range(25)]
    page = page_of(root, submit("debug:noop", after=many).task_id)
    assert "Other tasks that it waits for: 25." in page


@pytest.mark.req("S-10")
def test_deleting_the_dead_predecessor_frees_whoever_waits_to_end_as_the_docs_say() -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    hand = Hand()
    hand.settle(hand.claim(1), dead)
    actions.delete(first.id, actor="test")
    assert tasks.get(last.id).status == "CANCELLED"


def _plain(task_id: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(tasks.get(task_id)))
    return found
