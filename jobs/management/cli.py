"""What the command-line tools share: verbs, tables or one JSON document, one line per error, consent, audit."""

import getpass
import logging
import os
import socket
import sys
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction

from jobs.domain.errors import Forbidden, Invalid, TaskCenterError
from jobs.management import tables
from jobs.operations import audits, checks, tenants
from jobs.store import catalog

Options = dict[str, Any]
Verb = Callable[["Cli", Options], None]
INTERRUPTED = 130
_TELLING = 2


class Cli(BaseCommand, ABC):
    """A command of verbs, `manage.py <noun> <verb> …`. Exit status 1 and one line on stderr when it fails."""

    requires_system_checks: list[str] = []

    @abstractmethod
    def verbs(self, add: "AddVerb") -> None:
        """Declare the verbs and their arguments."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        known = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

        def add(name: str, run: Verb, text: str, *, changes: bool = False) -> ArgumentParser:
            verb: ArgumentParser = known.add_parser(name, help=text, description=text)
            verb.set_defaults(run=run, changes=changes)
            verb.add_argument("--json", action="store_true", help="one JSON document on stdout")
            return verb

        self.verbs(add)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["changes"]:
                noun = type(self).__module__.rpartition(".")[2]
                refuse_if_readonly(f"{noun.removesuffix('s')}.{options['verb']}")
            _check_texts(options)
            with _quiet(options):
                options["run"](self, options)
        except TaskCenterError as error:
            raise CommandError(one_line(error)) from error
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL: {one_line(error)}") from error
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=INTERRUPTED) from None
        except BrokenPipeError:  # `… | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def show(self, options: Options, value: Any, *shown: tables.Shown) -> None:
        """Print `value` as JSON if that was asked for, else the tables."""
        if options["json"]:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        else:
            tables.show(self.stdout, *shown)

    def agree(self, options: Options, question: str) -> None:
        """Ask at a terminal unless --yes was given. Raises CommandError without consent."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Add --yes: there is no terminal to ask at.")
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.")

    @contextmanager
    def audited(
        self, verb: str, target: str, *, reason: str = "", before: Any = None
    ) -> Iterator[Options]:
        """A change and its audit entry in one transaction; what is put into the dictionary is its `after`."""
        after: Options = {}
        with transaction.atomic():
            yield after
            audits.record(
                actor=actor(),
                address=socket.gethostname(),
                action=verb,
                target=target,
                reason=reason,
                before=before,
                after=after or None,
            )


AddVerb = Callable[..., ArgumentParser]


def refuse_if_readonly(action: str) -> None:
    """Raises Forbidden, after noting the attempt at `action`, while ASYNQ_READONLY is on."""
    if not settings.ASYNQ_READONLY:
        return
    refused = Forbidden("Changes are switched off (ASYNQ_READONLY)")
    audits.record(
        actor=actor(),
        address=socket.gethostname(),
        action=action,
        reason=refused.message,
        refused=True,
    )
    raise refused


@contextmanager
def _quiet(options: Options) -> Iterator[None]:
    """Log only errors, in the whole process; with `<noun> --verbosity 2 <verb>` everything."""
    before = logging.root.manager.disable
    if options.get("verbosity", 1) < _TELLING:
        logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _check_texts(options: Options) -> None:
    """Bytes that are no text come in as lone surrogates. Raises CommandError naming the argument."""
    for name, value in options.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_text(text, name)


def actor() -> str:
    """`cli:<user of the operating system>`."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return f"cli:{os.getuid()}"


def one_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return " ".join(text.splitlines()[0].split())


def consent(verb: ArgumentParser, *, reason: str = "") -> None:
    """The arguments of a verb that destroys something."""
    verb.add_argument("--yes", "-y", action="store_true", help="don't ask")
    why(verb, reason)


def why(verb: ArgumentParser, default: str = "") -> None:
    verb.add_argument("--reason", default=default, help="for the audit log")


def of_tenant(verb: ArgumentParser) -> ArgumentParser:
    """The argument of a verb that is about one tenant's things."""
    verb.add_argument("--tenant", metavar="SLUG", help="of this tenant (default)")
    return verb


def tenant_id(options: Options) -> int:
    """Raises NotFound."""
    slug = options["tenant"]
    return catalog.DEFAULT_TENANT if slug is None else tenants.id_of(slug)


def each(
    cli: Cli, options: Options, key: str, names: Sequence[str], act: Callable[[str], Options]
) -> None:
    """Do one thing to each name by itself and print how it ended; a CommandError tells of those that failed."""
    results: list[Options] = []
    errors: list[str] = []
    for name in names:
        try:
            results.append({key: name, "ok": True, **act(name)})
        except TaskCenterError as error:
            shown = {"code": error.code, "message": error.message}
            results.append({key: name, "ok": False, "error": shown})
            errors.append(one_line(error))
    document = {"done": len(results) - len(errors), "failed": len(errors), "results": results}
    lines = [f"{r[key]}: {_outcome(r, key)}" for r in results if r["ok"]]
    cli.show(options, document, *lines)
    if errors:
        of = f"{len(errors)} of {len(results)} failed: " if len(results) > 1 else ""
        raise CommandError(of + errors[0])


def _outcome(result: Options, key: str) -> str:
    told = {k: v for k, v in result.items() if k not in (key, "ok") and v is not None}
    return ", ".join(f"{name} {tables.cell(value)}" for name, value in told.items()) or "done"


def check_text(text: str, name: str) -> None:
    """Raises CommandError for what no database stores."""
    try:
        checks.check_text(text)
    except Invalid as error:
        raise CommandError(f"{name.replace('_', '-')}: {one_line(error)}") from error


def converted(given: Options, kind: Any) -> Any:
    """Texts from the command line as a typed struct. Raises CommandError naming what does not fit."""
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = one_line(error).partition(" - at `$.")
        name = where.rstrip("`").replace("_", "-")
        raise CommandError(f"{name}: {what}" if name else what) from error
    except ValueError as error:  # a number of thousands of digits
        raise CommandError(one_line(error)) from error


def pairs(given: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` arguments as a dictionary. Raises CommandError."""
    pairs = [text.partition("=") for text in given]
    if not all(key and sep for key, sep, _ in pairs):
        raise CommandError("Expected NAME=VALUE")
    return {key: value for key, _, value in pairs}
