"""`manage.py queues list|stats|history|pause|resume|empty|delete|configure|stop|start`."""

import time
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import suppress

import msgspec
from django.db import DatabaseError, connection
from rich.console import Console
from rich.live import Live
from rich.table import Table

from jobs.domain.errors import Invalid, UnknownQueue
from jobs.management import cli, tables
from jobs.management.cli import AddVerb, Cli, Options
from jobs.operations import emptying, removing
from jobs.operations import queues as operations
from jobs.selectors import daily
from jobs.selectors import queues as reading
from jobs.selectors.queues import QueueStats, QueueView
from jobs.store import catalog

WATCH_S = 2.0
_NARROW = ("queue", "size", "pending", "active", "scheduled", "retry", "archived")
_COUNTERS = (*_NARROW, "completed", "processed", "failed", "capacity", "utilization")
_NARROW_CHARS = 132
_SETTINGS = ("weight", "capacity", "concurrency")


class Command(Cli):
    help = "Look at queues, pause, resume, empty, delete and set them up; the emergency stop."

    def verbs(self, add: AddVerb) -> None:
        _tenant(add("list", _list, "all queues with their settings"))
        stats = _tenant(add("stats", _stats, "counters of all queues"))
        stats.add_argument(
            *("--watch", "-w"),
            nargs="?",
            type=_seconds,
            const=WATCH_S,
            metavar="SECONDS",
            help=f"again every SECONDS ({WATCH_S:g}) until Ctrl-C; with --json a line each time",
        )
        cli.why(_names(add("pause", _pause, "start nothing more of these queues", changes=True)))
        cli.why(_names(add("resume", _resume, "end a pause", changes=True)))
        empty = add("empty", _empty, "delete all that waits, and refund it", changes=True)
        cli.consent(_names(empty))
        empty.add_argument(
            "--all-tenants", action="store_true", help="of dead_letter: every tenant's tasks"
        )
        history = add("history", _history, "runs that ended and failed, day by day, newest first")
        _tenant(history).add_argument("queue")
        history.add_argument("--days", type=int, default=7, help="1 to 90 (7)")
        delete = add("delete", _delete, "delete tenants' queues that are empty", changes=True)
        cli.consent(_names(delete))
        delete.add_argument(
            "--force", action="store_true", help="cancel, refund and delete what waits first"
        )
        configure = add("configure", _configure, "change settings, live", changes=True)
        _tenant(configure).add_argument("queue")
        for name in _SETTINGS:
            configure.add_argument(f"--{name}", type=int, default=None)
        stop = add("stop", _stop, "emergency stop: no worker starts anything", changes=True)
        cli.consent(stop)
        cli.why(add("start", _start, "end the emergency stop", changes=True))


def _names(verb: ArgumentParser) -> ArgumentParser:
    verb.add_argument("queues", nargs="+", metavar="queue")
    return _tenant(verb)


def _tenant(verb: ArgumentParser) -> ArgumentParser:
    verb.add_argument("--tenant", metavar="SLUG", help="of this tenant: low is SLUG:low")
    return verb


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 3600:
        raise ArgumentTypeError("between 0.1 and 3600 seconds")
    return value


def _list(command: Cli, options: Options) -> None:
    queues = reading.listing(_of(options))
    columns = ("queue", "weight", "capacity", "concurrency", "paused", "reason", "level", "size")
    rows = [
        (q.queue, q.weight, q.capacity, q.concurrency, q.paused, q.paused_reason or None)
        + (q.backpressure_state, q.size)
        for q in queues
    ]
    command.show(options, {"items": queues}, tables.table("", columns, rows))


def _stats(command: Cli, options: Options) -> None:
    if options["watch"] is None:
        found = reading.stats(_of(options))
        command.show(options, found, _table(found, chars=tables.width(command.stdout)))
    elif options["json"] or not command.stdout.isatty():
        _repeat(command, options)
    else:
        _live(options["watch"], _of(options))


def _table(found: dict[str, QueueStats], title: str = "", chars: int = 1000) -> Table:
    counters = _COUNTERS if chars >= _NARROW_CHARS else _NARROW
    rows = [
        (*(getattr(q, name) for name in counters), q.oldest_pending_s)
        + ("PAUSED" if q.paused else q.backpressure_state,)
        for q in found.values()
    ]
    return tables.table(title, (*counters, "oldest", "state"), rows)


def _repeat(command: Cli, options: Options) -> None:
    """For pipes and files: again and again, below each other, until Ctrl-C."""
    tenant_id = _of(options)
    with suppress(KeyboardInterrupt):
        while True:
            try:
                if options["json"]:
                    command.stdout.write(msgspec.json.encode(reading.stats(tenant_id)).decode())
                else:
                    tables.show(command.stdout, _table(reading.stats(tenant_id), _now()))
            except DatabaseError as error:
                _away(error)
                command.stderr.write(f"PostgreSQL: {cli.one_line(error)}")
            command.stdout.flush()
            time.sleep(options["watch"])


def _live(every_s: float, tenant_id: int | None) -> None:
    """In place at a terminal, until Ctrl-C."""
    console = Console()
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                shown = _table(reading.stats(tenant_id), _now(), console.width)
                live.update(shown, refresh=True)
            except DatabaseError as error:
                _away(error)
                live.update(
                    tables.table(f"PostgreSQL: {cli.one_line(error)}", (), ()), refresh=True
                )
            time.sleep(every_s)


def _away(_error: DatabaseError) -> None:
    """The next look takes a new connection."""
    with suppress(DatabaseError):
        connection.close()


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _pause(command: Cli, options: Options) -> None:
    def act(name: str) -> Options:
        with command.audited("queue.pause", _get(name).queue, reason=options["reason"]):
            operations.pause(name, reason=options["reason"])
        return {"paused": True}

    cli.each(command, options, "queue", _full(options), act)


def _resume(command: Cli, options: Options) -> None:
    def act(name: str) -> Options:
        with command.audited("queue.resume", _get(name).queue, reason=options["reason"]):
            operations.resume(name)
        return {"paused": False}

    cli.each(command, options, "queue", _full(options), act)


def _empty(command: Cli, options: Options) -> None:
    names = _full(options)
    waiting = sum(_waiting(_get(name)) for name in names)
    command.agree(options, f"Cancel, refund and delete {waiting:,} tasks of {', '.join(names)}?")
    cli.each(command, options, "queue", names, lambda name: _emptied(command, name, options))


def _history(command: Cli, options: Options) -> None:
    days = daily.history(options["days"], _full_name(options, options["queue"]))
    rows = [(str(d.day), d.processed, d.failed) for d in days]
    command.show(options, {"items": days}, tables.table("", ("day", "processed", "failed"), rows))


def _emptied(command: Cli, name: str, options: Options) -> Options:
    """One operation lasts some seconds at most; a large queue takes several."""
    told = {"deleted": 0, "refunded_credits": 0, "remaining": True}
    while told["remaining"]:
        done = emptying.empty(
            name,
            actor=cli.actor(),
            reason=options["reason"],
            tenant_id=None if options["all_tenants"] else cli.tenant_id(options),
        )
        told["deleted"] += done.deleted
        told["refunded_credits"] += done.refunded
        told["remaining"] = done.remaining
        if not done.deleted:
            break
    with command.audited("queue.empty", name, reason=options["reason"]) as after:
        after.update(told)
    return told


def _delete(command: Cli, options: Options) -> None:
    names = _full(options)
    waiting = sum(_waiting(_get(name)) for name in names) if options["force"] else 0
    command.agree(options, f"Delete {', '.join(names)} with {waiting:,} waiting tasks?")

    def act(name: str) -> Options:
        reason = options["reason"]
        done = removing.remove(
            _get(name).queue, force=options["force"], actor=cli.actor(), reason=reason
        )
        told = {"deleted": done.deleted, "refunded_credits": done.refunded}
        with command.audited("queue.delete", name, reason=reason) as after:
            after.update(told, force=options["force"])
        return told

    cli.each(command, options, "queue", names, act)


def _configure(command: Cli, options: Options) -> None:
    name = _full_name(options, options["queue"])
    change = {key: options[key] for key in _SETTINGS}
    if all(value is None for value in change.values()):
        raise Invalid("Nothing to change: give --weight, --capacity or --concurrency")
    before = _settings(_get(name))
    with command.audited("queue.configure", name, before=before) as after:
        operations.configure(name, **change)
        after.update(_settings(_get(name)))
    command.show(options, _get(name), tables.record("", {"queue": name, **after}))


def _stop(command: Cli, options: Options) -> None:
    command.agree(options, "Stop all consumption? Running tasks finish.")
    _switch(command, options, stopped=True)


def _start(command: Cli, options: Options) -> None:
    _switch(command, options, stopped=False)


def _switch(command: Cli, options: Options, *, stopped: bool) -> None:
    action = "emergency.stop" if stopped else "emergency.resume"
    with command.audited(action, "all queues", reason=options["reason"]) as after:
        operations.stop_everything(stopped, reason=options["reason"])
        after["stopped"] = stopped
    word = "Stopped: no worker starts anything." if stopped else "Workers start tasks again."
    command.show(options, {"stopped": stopped}, word)


def _of(options: Options) -> int | None:
    """None: everybody's. Raises NotFound."""
    return None if options["tenant"] is None else cli.tenant_id(options)


def _full(options: Options) -> list[str]:
    return [_full_name(options, name) for name in options["queues"]]


def _full_name(options: Options, name: str) -> str:
    """As it is stored; dead letters of all tenants share one queue."""
    return name if name == catalog.DEAD_LETTER else catalog.full_name(cli.tenant_id(options), name)


def _get(name: str) -> QueueView:
    found = reading.get(name)
    if found is None:
        raise UnknownQueue(queue=name)
    return found


def _settings(queue: QueueView) -> Options:
    return {key: getattr(queue, key) for key in _SETTINGS}


def _waiting(queue: QueueView) -> int:
    if queue.queue == catalog.DEAD_LETTER:
        return queue.archived
    return queue.pending + queue.scheduled + queue.retry
