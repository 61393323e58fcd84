"""The `jobs` application: the engine."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
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


def _sync_contract(**_signal: object) -> None:
    """The contract's queues become rows with the tables; entries are noted for billing from now on, if it is set."""
    from jobs.operations import billing, queues  # models are not there at import time

    queues.sync_contract()
    billing.sync()
