"""`manage.py second_factor set|remove USER`."""

from jobs.management import cli
from jobs.management.cli import AddVerb, Cli, Options
from jobs.operations import second_factor as operations

_MOST_CODES = 20


class Command(Cli):
    help = "Second factors of the console's people (asked for with TASKCENTER_SECOND_FACTOR=true)."

    def verbs(self, add: AddVerb) -> None:
        give = add(
            "set", _set, "a new device and spare codes; they are printed this once", changes=True
        )
        give.add_argument("user")
        give.add_argument(
            "--codes", type=int, default=8, choices=range(_MOST_CODES + 1), metavar="N"
        )
        cli.consent(give)
        remove = add("remove", _remove, "no device: the person cannot sign in", changes=True)
        remove.add_argument("user")
        cli.consent(remove)


def _set(command: Cli, options: Options) -> None:
    user = options["user"]
    command.agree(options, f"Replace the second factor of {user}?")
    with command.audited("second_factor.set", f"user:{user}", reason=options["reason"]):
        made = operations.enroll(user, codes=options["codes"])
    told = {"user": user, "url": made.url, "codes": made.codes}
    command.show(options, told, "\n".join([made.url, *made.codes]))


def _remove(command: Cli, options: Options) -> None:
    user = options["user"]
    command.agree(options, f"Remove the second factor of {user}?")
    with command.audited("second_factor.remove", f"user:{user}", reason=options["reason"]):
        count = operations.remove(user)
    command.show(options, {"user": user, "removed": count}, f"{user}: {count} removed")
