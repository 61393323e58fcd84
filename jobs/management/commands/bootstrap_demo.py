"""`manage.py bootstrap_demo`: a login, a key, accounts, a platform and a schedule. Safe to run again."""

import base64
import json
import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from jobs.models import Account, Platform, Schedule
from jobs.operations import credits, keys, platforms, queues, schedules
from jobs.operations.platforms import PlatformSpec

USER = "admin"
READER = 100
PLATFORM = "demo-replicate"
DEMO_ACCOUNTS = range(1_001, 1_006)
GRANT = 10_000


class Command(BaseCommand):
    help = (
        "Create the demo's operator, API key, accounts, platform and schedules; prints the login."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="one line of JSON: token, user, password"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(settings.DATA_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        queues.sync_contract()
        made = {"token": _key(folder), "user": USER, "password": _operator(folder)}
        _reader()
        _accounts()
        _platform(
            kept(folder / "demo-replicate-token", lambda: secrets.token_urlsafe(24)),
            kept(folder / "demo-replicate-webhook-secret", _webhook_secret),
        )
        _schedules()
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            self.stdout.write(f"Login {made['user']} / {made['password']}\nAPI key {made['token']}")


def kept(path: Path, make: Any) -> str:
    """The secret in the file, made at the first call; readable by its owner only."""
    if path.exists():
        return path.read_text().strip()
    text = str(make())
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    part.replace(path)
    return text


def _operator(folder: Path) -> str:
    password = kept(folder / "demo-password", lambda: secrets.token_urlsafe(15))
    user, _ = get_user_model().objects.get_or_create(
        username=USER,
        defaults={"email": "admin@example.com", "is_staff": True, "is_superuser": True},
    )
    if not user.check_password(password):
        user.set_password(password)
        user.is_staff = user.is_superuser = user.is_active = True
        user.save()
    return password


def _reader() -> None:
    """The user of the examples in docs/api.md, with an address that welcome mails go to."""
    users = get_user_model().objects
    if users.filter(pk=READER).exists() or users.filter(username="reader").exists():
        return
    with transaction.atomic():
        users.create(pk=READER, username="reader", email="reader@example.com").save()
        with connection.cursor() as cursor:  # the next user's id comes after it
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence('auth_user', 'id'), (SELECT max(id) FROM auth_user))"
            )


def _key(folder: Path) -> str:
    """The kept key while it is valid in this database, else a new one."""
    path = folder / "demo-token"
    if path.exists() and keys.authenticate(path.read_text().strip()) is None:
        path.unlink()
    return kept(path, lambda: keys.create(name="demo", scopes=["admin"]).key)


def _accounts() -> None:
    for user_id in DEMO_ACCOUNTS:
        if not Account.objects.filter(tenant_id=1, user_id=user_id).exists():
            credits.grant(user_id=user_id, amount=GRANT, reason="demo", actor="demo")


def _webhook_secret() -> str:
    """As Standard Webhooks has them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def _platform(credential: str, webhook_secret: str) -> None:
    """The stub's port may have changed since the last run: the address is written anew each time."""
    port = os.environ.get("TASKCENTER_DEMO_REPLICATE_PORT") or "8027"
    spec = PlatformSpec(
        name=PLATFORM,
        protocol="replicate",
        base_url=f"http://127.0.0.1:{port}",
        credential=credential,
        webhook_secret=webhook_secret,
        profile="short",
        time_limit=600,
        allow_private=True,
    )
    exists = Platform.objects.filter(name=PLATFORM).exists()
    (platforms.change if exists else platforms.create)(spec)


def _schedules() -> None:
    wanted: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        (
            "demo: tasks by day",
            "* * * * *",
            "report:generate",
            {"name": "tasks_by_day", "params": {"days": 7}},
        ),
        ("demo: clean up", "*/10 * * * *", "cleanup:expired", {}),
    )
    for name, cron, type_, payload in wanted:
        with transaction.atomic():
            if not Schedule.objects.filter(tenant_id=1, name=name).exists():
                schedules.create(name=name, cron=cron, type=type_, payload=payload)
