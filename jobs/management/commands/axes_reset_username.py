"""`manage.py axes_reset_username NAME …`: axes' command, with a sentence for one and one for many."""

from typing import Any

from axes.management.commands import axes_reset_username as of_axes
from axes.utils import reset
from django.core.management.base import CommandError
from django.utils.translation import ngettext

from jobs.domain.errors import Forbidden
from jobs.management import cli


class Command(of_axes.Command):  # type: ignore[misc]  # axes has no types
    help = "Let somebody try to log in again after too many wrong passwords"

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            cli.refuse_if_readonly("login.reset")
        except Forbidden as error:
            raise CommandError(cli.one_line(error)) from error
        count = sum(reset(username=name) for name in options["username"])
        said = ngettext("%(n)s failed login removed.", "%(n)s failed logins removed.", count)
        self.stdout.write(said % {"n": count})
