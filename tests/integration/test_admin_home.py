"""The first page after the login."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

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
