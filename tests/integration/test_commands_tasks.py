"""`manage.py tasks` on real stores (D-05)."""

import io
import sys
from typing import Any

import pytest
from django.core.management.base import CommandError
from pytest_django import Settings

from jobs.models import AuditEntry
from jobs.operations import credits
from jobs.operations.tasks import Submitted, submit
from tests.support import engine as books
from tests.support.cli import audit, run, run_json

pytestmark = pytest.mark.usefixtures("engine")


def _echo(**options: Any) -> Submitted:
    return submit("debug:echo", {"word": "hello", "password": "hush"}, **options)


@pytest.mark.req("D-05")
def test_a_list_takes_the_filters_of_the_api_and_pages_past_its_limit() -> None:
    mine = [_echo(queue="high", user_id=7, business_id=f"order-{n}", tags=["a"]) for n in range(3)]
    _echo(queue="low", user_id=8)
    page = run_json("tasks", "list", "--queue", "high", "--user", "7", "--limit", "2")
    assert [item["task_id"] for item in page["items"]] == [mine[2].task_id, mine[1].task_id]
    assert page["estimated_total"] == 3
    rest = run_json("tasks", "list", "--queue", "high", "--cursor", page["next_cursor"])
    assert [item["task_id"] for item in rest["items"]] == [mine[0].task_id]
    one = run_json("tasks", "list", "--business", "order-1", "--tag", "a", "--state", "pending")
    assert [item["task_id"] for item in one["items"]] == [mine[1].task_id]
    none = run_json("tasks", "list", "--type", "debug:noop", "--payload", "word=hello")
    assert none["items"] == []
    assert run("tasks", "list", "--queue", "high", "--ids").split() == [
        task.task_id for task in reversed(mine)
    ]


@pytest.mark.req("D-05")
def test_a_list_longer_than_one_page_of_the_api_is_one_document() -> None:
    for n in range(105):
        submit("debug:noop", {}, business_id=str(n))
    page = run_json("tasks", "list", "--limit", "103")
    assert len({item["task_id"] for item in page["items"]}) == 103
    assert page["next_cursor"]


@pytest.mark.req("D-05", "T-04")
def test_secrets_are_masked_and_a_terminal_gets_nothing_that_steers_it() -> None:
    evil = submit("debug:echo", {"x": 1}, business_id="\x1b[2J\x1b[31m[bold]red", user_id=1_000)
    done = _echo()
    assert "hush" not in run("tasks", "inspect", done.task_id)
    assert "hush" not in str(run_json("tasks", "list"))
    text = run("tasks", "inspect", evil.task_id)
    assert "\x1b" not in text
    assert "[bold]red" in text
    assert " 1000 " in run("tasks", "list")


@pytest.mark.req("D-05")
def test_inspect_tells_of_the_task_its_runs_and_its_timeline() -> None:
    done = _echo()
    hand = books.Hand()
    hand.settle(hand.claim(), books.dead)
    told = run_json("tasks", "inspect", f"job:{done.task_id}:0")
    assert told["task"]["state"] == "archived"
    assert [run["outcome"] for run in told["attempts"]] == ["dead"]
    assert told["events"][0]["kind"] == "submitted"
    text = run("tasks", "inspect", done.task_id)
    for word in (done.task_id, "archived", "boom", "submitted"):
        assert word in text


@pytest.mark.req("D-05", "T-06")
def test_run_archive_cancel_and_delete_do_what_they_say_and_are_audited() -> None:
    credits.grant(user_id=7, amount=100, reason="x", actor="test")
    later = _echo(process_in=600)
    assert run_json("tasks", "archive", later.task_id)["done"] == 1
    assert run_json("tasks", "run", later.task_id)["results"][0]["state"] == "pending"
    charged = _echo(user_id=7, credits=40)
    told = run_json("tasks", "cancel", charged.task_id, "--yes", "--reason", "not wanted")
    assert told["results"] == [
        {"task_id": charged.task_id, "ok": True, "user_id": 7, "credits": 40, "refunded": True}
    ]
    assert books.balance(7) == 100
    assert "deleted yes" in run("tasks", "delete", later.task_id, "-y")
    assert books.row(later.id, "state") is None
    assert audit() == [
        ("task.archive", later.task_id, False),
        ("task.run", later.task_id, False),
        ("task.cancel", charged.task_id, False),
        ("task.delete", later.task_id, False),
    ]
    entry = AuditEntry.objects.get(action="task.cancel")
    assert (entry.reason, entry.before, entry.after) == (
        "not wanted",
        {"state": "pending"},
        {"user_id": 7, "credits": 40, "refunded": True},
    )


@pytest.mark.req("D-05")
def test_one_that_fails_does_not_stop_the_others_and_the_exit_is_not_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = _echo(), _echo()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{first.task_id}\nnobody {second.task_id}\n"))
    with pytest.raises(CommandError) as failed:
        run("tasks", "cancel", "-", "--yes")
    assert str(failed.value) == "1 of 3 failed: There is no such task. (task_id='nobody')"
    assert failed.value.returncode == 1
    assert [books.row(t.id, "state") for t in (first, second)] == [6, 6]
    with pytest.raises(CommandError, match=r"^The task's state does not allow this action"):
        run("tasks", "cancel", first.task_id, "--yes")


@pytest.mark.req("D-05")
def test_without_a_terminal_and_without_yes_nothing_is_destroyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    task = _echo()
    for verb in ("cancel", "delete"):
        with pytest.raises(CommandError, match="Add --yes"):
            run("tasks", verb, task.task_id)
    assert books.row(task.id, "state") == 1
    assert audit() == []


@pytest.mark.req("D-05")
@pytest.mark.parametrize(("answer", "state"), [("y", 6), ("", 1), ("no", 1)])
def test_at_a_terminal_the_answer_decides(
    monkeypatch: pytest.MonkeyPatch, answer: str, state: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer + "\n"))
    task = _echo()
    if state == 6:
        run("tasks", "cancel", task.task_id)
    else:
        with pytest.raises(CommandError, match="Nothing was done"):
            run("tasks", "cancel", task.task_id)
    assert books.row(task.id, "state") == state


@pytest.mark.req("D-05", "A-06")
def test_while_read_only_changes_are_refused_and_noted_and_submits_pass(
    settings: Settings,
) -> None:
    settings.ASYNQ_READONLY = True
    task = run_json("tasks", "submit", "debug:noop")
    for verb in ("run", "archive", "cancel", "delete"):
        yes = ["--yes"] if verb in ("cancel", "delete") else []
        with pytest.raises(CommandError, match="ASYNQ_READONLY"):
            run("tasks", verb, task["task_id"], *yes)
    assert audit() == [(f"task.{v}", "", True) for v in ("run", "archive", "cancel", "delete")]
    assert run_json("tasks", "inspect", task["task_id"])["task"]["state"] == "pending"


@pytest.mark.req("D-05", "S-02")
def test_submit_takes_the_options_of_the_api(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    credits.grant(user_id=7, amount=100, reason="x", actor="test")
    done = run_json(
        *("tasks", "submit", "debug:echo", '{"n": 1}', "--priority", "2", "--user", "7"),
        *("--credits", "5", "--process-in", "60", "--max-retries", "9", "--timeout", "2.5"),
        *("--tag", "a", "--tag", "b", "--header", "region=eu", "--business", "order-17"),
    )
    assert (done["queue"], done["state"], done["max_retries"]) == ("high", "scheduled", 9)
    assert (done["timeout"], done["tags"], done["headers"]) == (2.5, ["a", "b"], {"region": "eu"})
    assert (done["payload"], done["business_id"], books.balance(7)) == ({"n": 1}, "order-17", 95)
    file = tmp_path / "payload.json"
    file.write_text('{"from": "a file"}')
    assert run_json("tasks", "submit", "debug:echo", f"@{file}")["payload"] == {"from": "a file"}
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"from": "stdin"}'))
    assert run_json("tasks", "submit", "debug:echo", "-")["payload"] == {"from": "stdin"}
    again = [run("tasks", "submit", "debug:noop", "--idempotency-key", "k") for _ in range(2)]
    assert "submitted before" in again[1]


@pytest.mark.req("D-05")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["submit", "no:such"], "No handler is registered"),
        (["submit", "debug:echo", "{"], "payload cannot be read"),
        (["submit", "debug:echo", "@/no/such/file"], "payload cannot be read"),
        (["submit", "debug:echo", "--timeout", "soon"], "timeout"),
        (["submit", "debug:echo", "--header", "novalue"], "NAME=VALUE"),
        (["list", "--state", "lost"], "no state 'lost'"),
        (["list", "--queue", "nowhere"], "no queue 'nowhere'"),
        (["list", "--created-after", "yesterday"], "created-after"),
        (["list", "--limit", "0"], "between 1 and"),
        (["list", "--cursor", "%%%"], "cursor"),
        (["inspect", "nobody"], "no such task"),
        (["cancel"], "required"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(argv: list[str], says: str) -> None:
    with pytest.raises(CommandError) as failed:
        run("tasks", *argv)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)
