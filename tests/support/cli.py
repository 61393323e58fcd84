"""A caller of `manage.py` commands in the test's process."""

import io
import json
from typing import Any

from django.core.management import call_command

from jobs.models import AuditEntry


def run(*argv: str) -> str:
    """What the command printed. Raises CommandError as the command does."""
    out = io.StringIO()
    call_command(*argv, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def run_json(*argv: str) -> Any:
    """The command's one JSON document."""
    return json.loads(run(*argv, "--json"))


def audit() -> list[tuple[str, str, bool]]:
    """(action, target, refused) of every audit entry in order; all are by `cli:…`."""
    rows = list(AuditEntry.objects.order_by("id"))
    assert all(row.actor.startswith("cli:") and row.address for row in rows)
    return [(row.action, row.target, row.refused) for row in rows]
