"""The `queues_admin` application: the faces for people and programs."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class QueuesAdminConfig(AppConfig):
    name = "queues_admin"
    verbose_name = _("Task Center")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Permissions exist only after a migrate: the roles are made then."""
        from queues_admin.permissions import sync_roles

        post_migrate.connect(sync_roles, dispatch_uid="queues_admin.sync_roles")


class SiteConfig(admin_apps.AdminConfig):
    """Django's admin with our site."""

    default = False
    default_site = "queues_admin.site.Site"
