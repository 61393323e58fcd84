"""The `jobs` application: the engine."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Task Center"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every module that registers handlers, so that a submit can be validated anywhere."""
        for module in ("jobs.builtin", *settings.TASKCENTER["HANDLERS"]):
            import_module(module)
        post_migrate.connect(_sync_contract, sender=self)


def _sync_contract(**_: object) -> None:
    """The contract's queues become rows with the tables."""
    from jobs.operations.queues import sync_contract  # models are not there at import time

    sync_contract()
