"""`manage.py workers list|quiet|stop|wake`."""

from argparse import ArgumentParser

from jobs.domain.errors import Invalid, NotFound
from jobs.management import cli, tables
from jobs.management.cli import AddVerb, Cli, Options
from jobs.operations import workers as operations
from jobs.selectors import workers as reading
from jobs.selectors.workers import WorkerView


class Command(Cli):
    help = "Look at worker processes; make them quiet, let them end."

    def verbs(self, add: AddVerb) -> None:
        add("list", _list, "living workers")
        cli.why(_names(add("quiet", _quiet, "take no more tasks", changes=True)))
        cli.why(_names(add("wake", _wake, "end a quiet time", changes=True)))
        cli.consent(_names(add("stop", _stop, "finish what runs and end", changes=True)))


def _names(verb: ArgumentParser) -> ArgumentParser:
    verb.add_argument("workers", nargs="*", metavar="worker", help="names as in the list, or ids")
    verb.add_argument("--all", action="store_true", help="every living worker")
    return verb


def _list(command: Cli, options: Options) -> None:
    page = reading.listing()
    columns = ("worker", "state", "running", "slots", "queues", "started", "silent s", "rq")
    rows = (
        (w.name, w.state, w.running, w.concurrency, w.queues or "all", w.started_at, w.silent_s)
        + (w.stats.get("version"),)
        for w in page.items
    )
    command.show(options, page, tables.table("", columns, rows))


def _quiet(command: Cli, options: Options) -> None:
    _tell(command, options, "quiet", _chosen(options))


def _wake(command: Cli, options: Options) -> None:
    _tell(command, options, "", _chosen(options))


def _stop(command: Cli, options: Options) -> None:
    names = _chosen(options)
    command.agree(options, f"Stop {len(names)} worker{'' if len(names) == 1 else 's'}?")
    _tell(command, options, "stop", names)


def _tell(command: Cli, options: Options, verb: str, names: list[str]) -> None:
    def act(name: str) -> Options:
        worker = _find(name)
        target = f"{worker.name} #{worker.id}"
        with command.audited(f"worker.{verb or 'wake'}", target, reason=options["reason"]):
            operations.command(worker.id, verb)
        return {"told": verb or "wake"}

    cli.each(command, options, "worker", names, act)


def _chosen(options: Options) -> list[str]:
    if bool(options["workers"]) == options["all"]:
        raise Invalid("Name workers, or say --all")
    if not options["all"]:
        return list(options["workers"])
    living = [worker.name for worker in reading.listing().items]
    if not living:
        raise NotFound("No worker is alive")
    return living


def _find(name: str) -> WorkerView:
    found = reading.find(name)
    if found is None:
        raise NotFound("There is no such living worker", worker=name)
    return found
