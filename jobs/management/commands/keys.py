"""`manage.py keys list|create|revoke`."""

from datetime import datetime

from django.core.management.base import CommandError
from django.utils import timezone

from jobs.management import cli, tables
from jobs.management.cli import AddVerb, Cli, Options
from jobs.operations import keys as operations
from jobs.operations import tenants
from jobs.selectors import keys as reading
from jobs.store.catalog import DEFAULT_TENANT


class Command(Cli):
    help = "Look at API keys, create them (shown once), revoke them."

    def verbs(self, add: AddVerb) -> None:
        listing = add("list", _list, "all keys, without their secrets")
        listing.add_argument("--tenant", metavar="SLUG", help="of this tenant only")
        create = add("create", _create, "a key; it is printed this once", changes=True)
        create.add_argument("name")
        create.add_argument(
            "--scopes",
            nargs="+",
            action="extend",
            required=True,
            metavar="SCOPE",
            help=f"some of {', '.join(operations.SCOPES)}, with blanks or commas between",
        )
        create.add_argument("--tenant", metavar="SLUG", help="for this tenant")
        create.add_argument("--expires-at", metavar="TIME", help="ISO 8601 with a time zone")
        cli.why(create)
        revoke = add("revoke", _revoke, "refused everywhere within 5 seconds", changes=True)
        revoke.add_argument("key_id", help="the third part of the key, as in the list")
        cli.consent(revoke)


def _list(command: Cli, options: Options) -> None:
    slug = options["tenant"]
    page = reading.listing(None if slug is None else tenants.id_of(slug))
    columns = (
        "key",
        "name",
        "tenant",
        "scopes",
        "made by",
        "created",
        "last used",
        "expires",
        "revoked",
    )
    rows = (
        (k.key_id, k.name, k.tenant, k.scopes, k.created_by or None, k.created_at)
        + (k.last_used_at, k.expires_at, k.revoked_at)
        for k in page.items
    )
    command.show(options, page, tables.table("", columns, rows))


def _create(command: Cli, options: Options) -> None:
    slug, scopes = options["tenant"], _scopes(options["scopes"])
    tenant_id = DEFAULT_TENANT if slug is None else tenants.id_of(slug)
    expires_at = _moment(options["expires_at"])
    target, reason = f"key:{options['name']}", options["reason"]
    with command.audited("key.create", target, reason=reason) as after:
        made = operations.create(
            name=options["name"],
            scopes=scopes,
            tenant_id=tenant_id,
            expires_at=expires_at,
            created_by=cli.actor(),
        )
        after.update(key_id=made.key_id, scopes=scopes, tenant=slug)
    told = {"key": made.key, "key_id": made.key_id, "name": options["name"], "scopes": scopes}
    command.show(options, told, made.key)


def _revoke(command: Cli, options: Options) -> None:
    key_id = options["key_id"]
    command.agree(options, f"Revoke key {key_id}? This cannot be undone.")
    with command.audited("key.revoke", f"key:{key_id}", reason=options["reason"]):
        operations.revoke(key_id)
    command.show(options, {"key_id": key_id, "revoked": True}, f"{key_id}: revoked")


def _scopes(given: list[str]) -> list[str]:
    """Raises CommandError naming those that there are not."""
    found = {word for text in given for word in text.split(",") if word}
    unknown = sorted(found - set(operations.SCOPES))
    if unknown:
        known = ", ".join(operations.SCOPES)
        raise CommandError(f"--scopes: there is no {', '.join(unknown)}; there are {known}")
    return sorted(found)


def _moment(text: str | None) -> datetime | None:
    """Raises CommandError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--expires-at {text}: no ISO 8601 time") from None
    if found.tzinfo is None or found <= timezone.now():
        raise CommandError(f"--expires-at {text}: a time to come, with a time zone")
    return found
