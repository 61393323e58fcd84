"""`manage.py ledger check|statement`: proves the books, repairs nothing."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec
from django.core.management.base import CommandError
from rich.table import Table

from jobs.builtin.reports import safe
from jobs.domain.errors import Invalid
from jobs.management import tables
from jobs.management.cli import AddVerb, Cli, Options, of_tenant, tenant_id
from jobs.selectors import statements
from jobs.selectors.statements import Checked, Line


class Command(Cli):
    help = "Check that balances are the sums of their entries; write monthly statements."

    def verbs(self, add: AddVerb) -> None:
        add("check", _check, "exit status 1 when a balance is not the sum of its entries")
        statement = add("statement", _statement, "a month of one account, or of all, as CSV")
        of_tenant(statement).add_argument(
            "--user", type=int, default=None, help="default: all of its accounts"
        )
        statement.add_argument("--month", required=True, metavar="YYYY-MM", help="in UTC")
        statement.add_argument("--output", type=Path, default=None, help="file; default stdout")


def _check(command: Cli, options: Options) -> None:
    checked, wrong = 0, []
    for account in statements.check():
        checked += 1
        if not account.agrees:
            wrong.append(account)
    text = f"{checked:,} accounts checked, {len(wrong):,} differ from their entries"
    shown = [_table(wrong)] if wrong else []
    command.show(options, {"accounts": checked, "mismatches": wrong}, *shown, text)
    if wrong:
        raise CommandError(f"{text}; nothing was changed, see docs/runbook.md#ledger-mismatch")


def _table(wrong: list[Checked]) -> Table:
    columns = ("account", "tenant", "user", "balance", "sum of entries", "difference")
    rows = (
        (*map(str, (a.account_id, a.tenant_id, a.user_id)), a.balance, a.entries)
        + (a.balance - a.entries,)
        for a in wrong
    )
    return tables.table("Accounts that differ", columns, rows)


def _statement(command: Cli, options: Options) -> None:
    lines = _lines(options["user"], options["month"], tenant_id(options))
    target: Path | None = options["output"]
    if options["json"]:
        if target is not None:
            raise Invalid("--json writes to stdout; leave --output out")
        command.show(options, {"month": options["month"], "lines": list(lines)})
    elif target is None:
        _write(command.stdout, lines)  # type: ignore[arg-type]  # it writes, which is all that csv asks
    else:
        _to_file(target, lines)
        command.stderr.write(f"written to {target}")


def _lines(user_id: int | None, month: str, tenant: int) -> Iterator[Line]:
    statements.month_of(month)
    if user_id is not None:
        return statements.statement(user_id, month, tenant)
    return (
        line
        for user in statements.users(tenant)
        for line in statements.statement(user, month, tenant)
    )


def _to_file(target: Path, lines: Iterator[Line]) -> None:
    """Beside the target and moved there at the end: nobody reads half a statement."""
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            _write(file, lines)
        part.replace(target)
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _write(out: TextIO, lines: Iterator[Line]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Line.__struct_fields__)
    for line in lines:
        values: dict[str, Any] = msgspec.to_builtins(line)
        writer.writerow(["" if value is None else safe(value) for value in values.values()])
