"""`manage.py tasks submit`: a submit's options as arguments."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import CommandError

from jobs.handlers.registry import public_handler
from jobs.management import cli
from jobs.management.cli import Cli, Options
from jobs.operations import tasks as operations
from jobs.operations.planned_types import unfolded
from jobs.operations.requests import TaskRequest
from jobs.selectors import tasks as reading

_MOST_DIGITS = 18
_SUBMIT = {
    "queue": "queue",
    "priority": "0 to 3, or low, normal, high, critical, instead of a queue",
    "process_in": "seconds from now",
    "process_at": "a time with zone, 2026-12-01T08:00:00Z",
    "max_retries": "wins over the handler's default, as do the next three",
    "timeout": "seconds per run",
    "deadline": "a time with zone",
    "retention": "seconds to keep the ended task",
    "unique_for": "seconds",
    "unique_key": "instead of queue, type and payload",
    "idempotency_key": "a second submit with it gives the first task back",
    "group": "for handlers with an aggregator",
    "business_id": "your own reference",
    "user_id": "whose task it is, and whose account is charged",
    "trace_id": "32 hexadecimal digits",
    "task_id": "an id of your own",
    "platform": "for platform:run",
    "credits": "to charge",
    "callback_url": "called when the task has ended",
    "limit_key": "runs under this key's limit",
}


def declare(verb: ArgumentParser) -> None:
    """The arguments."""
    verb.add_argument("type")
    verb.add_argument("payload", nargs="?", default="{}", help="JSON, @file, or - for stdin")
    for name, text in _SUBMIT.items():
        short = [f"--{name.removesuffix('_id')}"] if name in ("user_id", "business_id") else []
        verb.add_argument(f"--{name.replace('_', '-')}", *short, dest=name, help=text)
    verb.add_argument("--limit", help="at most so many of the key at once (3), or starts (100/m)")
    cli.of_tenant(verb)
    verb.add_argument("--front", action="store_true", help="to the head of its queue")
    verb.add_argument("--tag", dest="tags", action="append", default=[])
    verb.add_argument("--header", dest="headers", action="append", default=[], metavar="K=V")
    verb.add_argument("--after", action="append", default=[], metavar="TASK", help="a chain")


def submit(command: Cli, options: Options) -> None:
    """Submit one task and print it."""
    names = (*_SUBMIT, "front", "tags", "after")
    given = {name: options[name] for name in names if options[name] is not None}
    given |= {"type": options["type"], "headers": cli.pairs(options["headers"])}
    priority = options["priority"]
    if priority is not None and priority.isdecimal():
        given["priority"] = _number("priority", priority)
    limit = options["limit"]
    if limit is not None:
        given["limit"] = _number("limit", limit) if limit.isdecimal() else {"rate": limit}
    payload = _payload(options["payload"])
    request = unfolded(msgspec.structs.replace(cli.converted(given, TaskRequest), payload=payload))
    if public_handler(request.type).changes:
        cli.refuse_if_readonly(f"task.submit {request.type}")
    tenant_id = cli.tenant_id(options)
    done = operations.submit_request(request, tenant_id=tenant_id, actor=cli.actor())
    view = reading.get(done.id, tenant_id)
    line = f"{view.task_id} {view.state} in {view.queue}"
    command.show(options, view, line + (" (submitted before)" if done.existing else ""))


def _number(name: str, text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise CommandError(f"{name}: a number of at most {_MOST_DIGITS} digits")
    return int(text)


def _payload(given: str) -> Any:
    try:
        text = sys.stdin.read() if given == "-" else given
        text = Path(given[1:]).read_text() if given.startswith("@") else text
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, OSError, UnicodeError, RecursionError) as error:
        raise CommandError(f"The payload cannot be read: {cli.one_line(error)}") from error
