"""`manage.py tasks list|inspect|run|cancel|archive|delete|submit`."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from django.core.management.base import CommandError

from jobs.domain import ids
from jobs.domain.errors import Invalid, TaskNotFound
from jobs.domain.states import State
from jobs.management import cli, submitting, tables
from jobs.management.cli import AddVerb, Cli, Options
from jobs.operations import actions
from jobs.selectors import task_history
from jobs.selectors import tasks as reading
from jobs.selectors.masking import masked
from jobs.selectors.paging import MOST, Page, at_least
from jobs.selectors.task_filters import TaskFilter
from jobs.selectors.task_view import TaskView

MOST_LISTED = 10_000
_CANCELLED = "cancelled on the command line"


class Command(Cli):
    help = "Look at tasks and act on them."

    def verbs(self, add: AddVerb) -> None:
        _filters(add("list", _list, "tasks by filter, newest first"))
        inspect = add("inspect", _inspect, "one task with its runs and timeline")
        cli.of_tenant(inspect).add_argument("task")
        _names(add("run", _run, "run now; an archived task is redriven", changes=True))
        _names(add("archive", _archive, "put waiting tasks aside", changes=True))
        cancel = _names(add("cancel", _cancel, "cancel and refund", changes=True))
        cli.consent(cancel)
        cancel.add_argument("--force", action="store_true", help="end a running task at once")
        delete = _names(add("delete", _delete, "delete; refunds what is unfinished", changes=True))
        cli.consent(delete)
        submitting.declare(add("submit", submitting.submit, "submit a task"))


def _filters(verb: ArgumentParser) -> None:
    for flag, dest in (
        *(("--queue", "queue"), ("--state", "state"), ("--status", "status"), ("--type", "type")),
        *(("--platform", "platform"), ("--user", "user_id"), ("--business", "business_id")),
        ("--parent", "parent"),
        *(("--trace", "trace_id"), ("--tag", "tag"), ("--created-after", "created_after")),
        *(("--created-before", "created_before"), ("--q", "q")),
    ):
        verb.add_argument(flag, dest=dest, default=None)
    verb.add_argument(
        "--internal", choices=("true", "false"), default=None, help="only the engine's own, or none"
    )
    verb.add_argument("--payload", action="append", default=[], metavar="PATH=VALUE")
    verb.add_argument("--limit", type=int, default=20, help=f"1 to {MOST_LISTED:,}")
    verb.add_argument("--cursor", default=None, help="the `next_cursor` of an earlier list")
    verb.add_argument("--ids", action="store_true", help="only the ids, a line each")
    cli.of_tenant(verb)


def _names(verb: ArgumentParser) -> ArgumentParser:
    verb.add_argument("tasks", nargs="+", help="task or job ids; - reads them from standard input")
    return cli.of_tenant(verb)


def _list(command: Cli, options: Options) -> None:
    if not 1 <= options["limit"] <= MOST_LISTED:
        raise Invalid(f"--limit is between 1 and {MOST_LISTED}", given=options["limit"])
    given = {name: options[name] for name in TaskFilter.__struct_fields__ if name != "payload"}
    given["payload"] = cli.pairs(options["payload"])
    wanted, tenant_id = cli.converted(given, TaskFilter), cli.tenant_id(options)
    page = _page(wanted, options["cursor"], options["limit"], tenant_id)
    if options["ids"]:
        command.stdout.write("".join(f"{task.task_id}\n" for task in page.items), ending="")
        return
    shown = tables.table("", _COLUMNS, (_cells(task) for task in page.items))
    more = f"{len(page.items)} of about {page.estimated_total:,}"
    more += f"; go on with --cursor {page.next_cursor}" if page.next_cursor else ""
    command.show(options, page, shown, more)


def _page(wanted: TaskFilter, cursor: str | None, limit: int, tenant_id: int) -> Page[TaskView]:
    def part(after: str | None, most: int) -> Page[TaskView]:
        return reading.listing(wanted, after=after, limit=min(MOST, most), tenant_id=tenant_id)

    first = page = part(cursor, limit)
    items = list(page.items)
    while page.next_cursor and len(items) < limit:
        page = part(page.next_cursor, limit - len(items))
        items += page.items
    total = at_least(len(items), page.next_cursor is not None, first.estimated_total)
    return Page(items=items, next_cursor=page.next_cursor, estimated_total=total)


_COLUMNS = (
    *("task", "type", "queue", "state", "status", "retried", "user", "credits", "created"),
    *("next run", "last error"),
)


def _cells(task: TaskView) -> tuple[Any, ...]:
    user = None if task.user_id is None else str(task.user_id)
    retried = f"{task.retried}/{task.max_retries}"
    return (
        *(task.task_id, task.type, task.queue, task.state, task.status, retried, user),
        *(task.credits, task.created_at, task.next_process_at, tables.first_line(task.last_error)),
    )


def _inspect(command: Cli, options: Options) -> None:
    tenant_id = cli.tenant_id(options)
    task_id, _ = _find(options["task"], tenant_id)
    facts = masked(msgspec.json.decode(msgspec.json.encode(reading.get(task_id, tenant_id))))
    runs = task_history.attempts(task_id, tenant_id).items
    events = task_history.events(task_id, tenant_id).items
    document = {"task": facts, "attempts": runs, "events": events}
    told = {k: v for k, v in facts.items() if k != "links"}
    told |= {k: _compact(facts[k]) for k in ("payload", "result", "headers") if facts[k]}
    told |= {k: _named(facts[k]) for k in ("after", "awaited_by") if k in facts}
    columns = ("attempt", "outcome", "started", "seconds", "worker", "error")
    lines = (
        (r.attempt, r.outcome, r.started_at, r.duration, r.worker, tables.first_line(r.error, 120))
        for r in runs
    )
    command.show(
        options,
        document,
        tables.record("Task", told),
        tables.table("Attempts", columns, lines),
        tables.table("Events", ("at", "kind", "actor"), ((e.at, e.kind, e.actor) for e in events)),
    )


def _run(command: Cli, options: Options) -> None:
    tenant_id = cli.tenant_id(options)

    def act(task_id: UUID) -> Options:
        state = actions.run_now(task_id, actor=cli.actor(), tenant_id=tenant_id)
        return {"state": state.wire}

    _each(command, options, "task.run", act)


def _archive(command: Cli, options: Options) -> None:
    tenant_id = cli.tenant_id(options)

    def act(task_id: UUID) -> Options:
        actions.archive(task_id, actor=cli.actor(), tenant_id=tenant_id)
        return {"state": "archived"}

    _each(command, options, "task.archive", act)


def _delete(command: Cli, options: Options) -> None:
    tenant_id = cli.tenant_id(options)

    def act(task_id: UUID) -> Options:
        actions.delete(task_id, actor=cli.actor(), tenant_id=tenant_id)
        return {"deleted": True}

    _each(command, options, "task.delete", act, question="Delete")


def _cancel(command: Cli, options: Options) -> None:
    reason = options["reason"] or _CANCELLED
    tenant_id = cli.tenant_id(options)

    def act(task_id: UUID) -> Options:
        done = actions.cancel(
            task_id,
            reason=reason,
            actor=cli.actor(),
            force=options["force"],
            tenant_id=tenant_id,
        )
        told = {"user_id": done.user_id, "credits": done.credits, "refunded": done.refunded}
        return told | ({"cancel_requested": True} if done.requested else {})

    _each(command, options, "task.cancel", act, question="Cancel and refund", reason=reason)


def _each(
    command: Cli,
    options: Options,
    action: str,
    act: Callable[[UUID], Options],
    *,
    question: str = "",
    reason: str = "",
) -> None:
    tenant_id = cli.tenant_id(options)
    names = [n for given in options["tasks"] for n in (_stdin() if given == "-" else [given])]
    if question:
        command.agree(options, f"{question} {len(names)} task{'s' if len(names) > 1 else ''}?")

    def one(name: str) -> Options:
        task_id, state = _find(name, tenant_id)
        target = reading.public_id(task_id)
        why = reason or options.get("reason", "")
        with command.audited(action, target, reason=why, before={"state": state.wire}) as after:
            after.update(act(task_id))
        return after

    cli.each(command, options, "task_id", names, one)


def _find(name: str, tenant_id: int) -> tuple[UUID, State]:
    """The tenant's task behind an id of any form. Raises TaskNotFound with the name that was given."""
    task_id = ids.parse_id(name, tenant_id)
    try:
        return task_id, reading.place(task_id, tenant_id)[0]
    except TaskNotFound:
        raise TaskNotFound(task_id=name) from None


def _named(others: list[dict[str, str]]) -> str:
    return ", ".join(f"{t['task_id']} ({_where(t)})" for t in others)


def _where(task: dict[str, str]) -> str:
    is_dead = (task["state"], task["status"]) == ("archived", "FAILURE")
    return "dead letter" if is_dead else task["state"]


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _stdin() -> list[str]:
    try:
        names = sys.stdin.read().split()
    except UnicodeDecodeError as error:
        raise CommandError(f"standard input: {cli.one_line(error)}") from error
    for name in names:
        cli.check_text(name, "standard input")
    return names
