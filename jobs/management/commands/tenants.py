"""`manage.py tenants list|show|create|set|pause|resume`."""

from argparse import ArgumentParser, ArgumentTypeError

import msgspec

from jobs.domain.errors import Invalid
from jobs.management import cli, tables
from jobs.management.cli import AddVerb, Cli, Options
from jobs.operations import tenants as operations
from jobs.operations.tenants import QUOTAS
from jobs.selectors import tenants as reading
from jobs.selectors.tenants import TenantView

NO_QUOTA = "none"


class Command(Cli):
    help = "Look at tenants, create them, set their quotas, pause and resume their queues."

    def verbs(self, add: AddVerb) -> None:
        add("list", _list, "all tenants with their quotas")
        _slug(add("show", _show, "one tenant with its queues"))
        create = _slug(add("create", _create, "a tenant with queues of its own", changes=True))
        _settings(create)
        _settings(_slug(add("set", _set, "change its name or quotas", changes=True)))
        pause = _slug(
            add("pause", _pause, "hold all its queues, also against its own keys", changes=True)
        )
        cli.why(pause)
        cli.why(_slug(add("resume", _resume, "end a pause", changes=True)))


def _slug(verb: ArgumentParser) -> ArgumentParser:
    verb.add_argument("slug")
    return verb


def _settings(verb: ArgumentParser) -> None:
    verb.add_argument("--name", default=None)
    for name in QUOTAS:
        option = f"--{name.replace('_', '-')}"
        verb.add_argument(
            option, type=_quota, default=None, metavar="N", help=f"a number, or {NO_QUOTA}"
        )
    cli.why(verb)


def _quota(text: str) -> int | str:
    if text == NO_QUOTA:
        return NO_QUOTA
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"a whole number, or {NO_QUOTA}") from None


def _list(command: Cli, options: Options) -> None:
    page = reading.listing()
    columns = ("tenant", "name", "waiting", "active", *QUOTAS, "queues", "paused", "created")
    rows = (
        (t.slug, t.name or None, t.waiting, t.active, *(getattr(t, name) for name in QUOTAS))
        + (len(t.queues), _paused(t), t.created_at)
        for t in page.items
    )
    command.show(options, page, tables.table("", columns, rows))


def _paused(tenant: TenantView) -> str | None:
    """Since when, by whom, why."""
    if tenant.paused_at is None:
        return None
    told = (tables.cell(tenant.paused_at), tenant.paused_by, tenant.paused_reason)
    return ", ".join(part for part in told if part)


def _show(command: Cli, options: Options) -> None:
    _shown(command, options, reading.get(options["slug"]))


def _create(command: Cli, options: Options) -> None:
    slug, given = options["slug"], _given(options)
    with command.audited("tenant.create", f"tenant:{slug}", reason=options["reason"]) as after:
        operations.create(slug, given.pop("name", ""), **given)
        after.update(given)
    _shown(command, options, reading.get(slug))


def _set(command: Cli, options: Options) -> None:
    slug, given = options["slug"], _given(options)
    if not given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in ("name", *QUOTAS))
        raise Invalid(f"Nothing to change: give one of {names}")
    old = reading.get(slug)
    before = {name: getattr(old, name) for name in given}
    target, reason = f"tenant:{slug}", options["reason"]
    with command.audited("tenant.change", target, reason=reason, before=before) as after:
        operations.change(slug, given)
        after.update(given)
    _shown(command, options, reading.get(slug))


def _pause(command: Cli, options: Options) -> None:
    slug, reason = options["slug"], options["reason"]
    with command.audited("tenant.pause", f"tenant:{slug}", reason=reason):
        operations.pause(slug, actor=cli.actor(), reason=reason)
    command.show(options, reading.get(slug), f"{slug}: paused")


def _resume(command: Cli, options: Options) -> None:
    slug, reason = options["slug"], options["reason"]
    with command.audited("tenant.resume", f"tenant:{slug}", reason=reason):
        operations.resume(slug)
    command.show(options, reading.get(slug), f"{slug}: running again")


def _given(options: Options) -> Options:
    """What the command line named; `none` takes a quota away."""
    named = {name: options[name] for name in ("name", *QUOTAS) if options[name] is not None}
    return {
        name: None if value == NO_QUOTA and name in QUOTAS else value
        for name, value in named.items()
    }


def _shown(command: Cli, options: Options, tenant: TenantView) -> None:
    command.show(options, tenant, tables.record("", msgspec.to_builtins(tenant)))
