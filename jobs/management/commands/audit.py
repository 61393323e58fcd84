"""`manage.py audit verify`: proves that the audit log is as it was written."""

from django.core.management.base import CommandError

from jobs.management.cli import AddVerb, Cli, Options
from jobs.selectors import audit_chain


class Command(Cli):
    help = "Verify the hash chain of the audit log."

    def verbs(self, add: AddVerb) -> None:
        verify = add(
            "verify", _verify, "exit status 1 when an entry was changed, removed or slipped in"
        )
        verify.add_argument(
            "--head", default=None, help="an earlier head, SEQ:HASH, kept elsewhere"
        )


def _verify(command: Cli, options: Options) -> None:
    found = audit_chain.verify(options["head"])
    lines = [f"{found.links:,} links, head {found.head}, {found.waiting:,} entries wait for theirs"]
    command.show(options, found, *found.problems, *lines)
    if found.problems:
        raise CommandError(f"{len(found.problems)} problems, see docs/runbook.md")
