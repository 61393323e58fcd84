"""Nonsense on the command line: one line that says what is wrong and where, and nothing is done (D-05)."""

import io
import re
import sys

import pytest
from django.core.management.base import CommandError

from jobs.models import ApiKey, AuditEntry, Queue, Task, Tenant
from jobs.operations.tasks import submit
from tests.support.cli import run, run_json

pytestmark = pytest.mark.usefixtures("engine")

NO_TEXT = "\udcff"  # what Python makes of a byte that is no UTF-8
DIGITS = "9" * 5000
SCOPES = ("--scopes", "read")


@pytest.mark.req("D-05")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("keys", "create", "", *SCOPES), "name has 1 to 100 characters"),
        (("keys", "create", " ", *SCOPES), "name has 1 to 100 characters"),
        (("keys", "create", "x" * 101, *SCOPES), "name has 1 to 100 characters"),
        (("keys", "create", NO_TEXT, *SCOPES), "name: Text must not contain lone surrogates"),
        (
            ("keys", "create", "x", "--scopes", "a,b"),
            "--scopes: there is no a, b; there are submit",
        ),
        (("keys", "create", "x", "--scopes", ","), "needs scopes"),
        (("keys", "create", "x", *SCOPES, "--tenant", "nobody"), "no such tenant"),
        (("keys", "create", "x", *SCOPES, "--expires-at", "soon"), "no ISO 8601 time"),
        (("keys", "list", "--tenant", NO_TEXT), "tenant: Text"),
        (("keys", "revoke", NO_TEXT, "-y"), "key-id: Text"),
        (("tenants", "create", "ok", "--name", NO_TEXT), "name: Text"),
        (("tenants", "show", NO_TEXT), "slug: Text"),
        (("tenants", "pause", "default", "--reason", NO_TEXT), "reason: Text"),
        (("queues", "pause", NO_TEXT), "queues: Text"),
        (("queues", "configure", "low", "--capacity", "9" * 12), "between 1 and 2147483647"),
        (("queues", "configure", "low", "--weight", "0"), "between 1 and 1000"),
        (("queues", "stop", "-y", "--reason", NO_TEXT), "reason: Text"),
        (("tasks", "list", "--user", "x"), "user-id: Expected"),
        (("tasks", "list", "--user", DIGITS), "user-id: "),
        (("tasks", "list", "--created-after", "yesterday"), "created-after: Invalid RFC3339"),
        (("tasks", "list", "--q", NO_TEXT), "q: Text"),
        (("tasks", "list", "--payload", f"a={NO_TEXT}"), "payload: Text"),
        (("tasks", "inspect", NO_TEXT), "task: Text"),
        (("tasks", "cancel", NO_TEXT, "-y"), "tasks: Text"),
        (("tasks", "submit", "debug:noop", "{}", "--priority", DIGITS), "priority: a number of"),
        (("tasks", "submit", "debug:noop", "{}", "--limit", DIGITS), "limit: a number of"),
        (("tasks", "submit", "debug:noop", "{}", "--credits", DIGITS), "credits: "),
        (("tasks", "submit", "debug:noop", "{}", "--credits", "x"), "credits: Expected"),
        (("tasks", "submit", "debug:noop", "[" * 100_000), "payload cannot be read"),
        (("workers", "stop", NO_TEXT, "-y"), "workers: Text"),
        (("workers", "quiet", "x", "--reason", NO_TEXT), "reason: Text"),
    ],
)
def test_nonsense_is_told_in_one_line_and_changes_nothing(argv: tuple[str, ...], says: str) -> None:
    before = list(Queue.objects.order_by("pk").values())
    with pytest.raises(CommandError) as refused:
        run(*argv)
    text = str(refused.value)
    assert says in text
    assert "\n" not in text
    assert refused.value.returncode in (1, 2)
    assert list(Queue.objects.order_by("pk").values()) == before
    counted = (ApiKey.objects.count(), Task.objects.count(), Tenant.objects.count())
    assert (counted, AuditEntry.objects.count()) == ((0, 0, 1), 0)


@pytest.mark.req("D-05")
def test_ids_from_standard_input_that_are_no_text_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("task_1 a\x00b"))
    with pytest.raises(CommandError, match="standard input: Text must not contain NUL"):
        run("tasks", "run", "-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), "utf-8"))
    with pytest.raises(CommandError, match="standard input: "):
        run("tasks", "run", "-")


@pytest.mark.req("D-05", "T-02")
def test_scopes_may_be_parted_by_commas() -> None:
    assert run_json("keys", "create", "x", "--scopes", "read,submit")["scopes"] == [
        "read",
        "submit",
    ]


@pytest.mark.req("D-05")
def test_the_command_line_speaks_one_language_unless_it_is_told_a_reason() -> None:
    task = submit("debug:noop", {}, process_in=60)
    told = run("tasks", "cancel", task.task_id, "-y") + run("tasks", "inspect", task.task_id)
    assert "cancelled on the command line" in told
    assert not re.search("[\u4e00-\u9fff]", told)
