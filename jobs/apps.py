"""The `jobs` application: the engine."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = _("Task Center")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every module that registers handlers, so that a submit can be validated anywhere."""
        for module in ("jobs.builtin", *settings.TASKCENTER["HANDLERS"]):
            import_module(module)
        post_migrate.connect(_sync_contract, sender=self)
        register(_check_wall, Tags.database)
        register(_check_keys, Tags.database)


def _sync_contract(**_signal: object) -> None:
    """The contract's queues become rows with the tables; entries are noted for billing from now on, if it is set."""
    from jobs.operations import billing, queues  # models are not there at import time
    from jobs.store import wall

    queues.sync_contract()
    billing.sync()
    wall.build()


def _check_wall(databases: object = None, **_given: object) -> list[CheckMessage]:
    """With `check --database default`: whether the second wall between tenants stands."""
    from jobs.store import wall

    if not databases or not settings.TASKCENTER["TENANT_WALL"] or wall.is_there():
        return []
    return [
        Warning(
            "Reads of other tenants' keys have no second wall in the database.",
            hint="CREATE ROLE taskcenter_tenant NOLOGIN; GRANT it to the owner and to the application's role; migrate.",
            id="taskcenter.W001",
        )
    ]


def _check_keys(databases: object = None, **_given: object) -> list[CheckMessage]:
    """With `check --database default`: whether the keys here open what is stored."""
    from jobs.selectors import secrets

    found = secrets.unopened() if databases else None
    if found is None or not found.here:
        return []
    return [
        Warning(
            f"{found.here} of {found.looked_at} stored secrets cannot be opened: their key is missing.",
            hint="Give TASKCENTER_SECRET_KEYS the key that sealed them; `derived` is the one made of SECRET_KEY.",
            id="taskcenter.W002",
        )
    ]
