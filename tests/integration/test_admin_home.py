"""The first page after the login."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration.admin_support import client_of
from tests.integration.admin_support import text as shown

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.req("V-01")
def test_the_first_page_shows_health_and_what_is_wrong() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("chief", password="x"))
    text = client.get("/admin/").content.decode()
    assert "No worker is alive" in text
    assert "back-pressure" in text


@pytest.mark.req("V-01", "T-03")
def test_staff_without_a_permission_see_nothing_of_it() -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", password="x", is_staff=True))
    text = client.get("/admin/").content.decode()
    assert "back-pressure" not in text


@pytest.mark.req("V-01")
def test_the_first_page_has_no_empty_block_of_django_rq() -> None:
    root = client_of("root")
    apps = [app["app_label"] for app in root.get("/admin/").context["app_list"]]
    assert "jobs" in apps
    assert "django_rq" not in apps
    assert "/admin/django_rq/dashboard/" in shown(root.get("/admin/jobs/queue/redis/"))
