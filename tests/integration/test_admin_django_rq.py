"""django-rq's own pages behind our door: what is not there is not found, and nothing changes while read-only."""

from typing import Any

import pytest
from django.contrib import admin
from django.urls import URLPattern
from django_rq.models import Dashboard
from django_rq.queues import get_queue_by_index
from pytest_django import Settings

from jobs.models import AuditEntry
from jobs.operations.tasks import submit
from queues_admin.admin.django_rq import GuardedRQAdmin
from tests.integration.admin_support import client_of, text

pytestmark = pytest.mark.usefixtures("engine")

BASE = "/admin/django_rq/dashboard/"
ODD_IDS = ("nothing", "job:x:0", "..", "a b", "%00", "%E2%80%AE", "é", "x" * 3000, "%0d%0a")
ODD_NUMBERS = ("99", "9" * 30)


def _addresses(number: str, name: str) -> list[str]:
    """Each of their pages about a queue (worker, scheduler) or about a job, with these in the path."""
    made = GuardedRQAdmin(Dashboard, admin.site)
    found = []
    for pattern in made.get_urls():
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern)
        for kind in ("queue_index", "scheduler_index", "connection_index"):
            route = route.replace(f"<int:{kind}>", number)
        while "<" in route:
            before, _, rest = route.partition("<")
            route = before + name + rest.partition(">")[2]
        found.append(BASE + route)
    return found


@pytest.mark.req("S30", "T-03", "V-12")
@pytest.mark.parametrize("name", ODD_IDS)
def test_an_id_that_no_job_has_is_not_found_on_every_page_of_django_rq(name: str) -> None:
    root = client_of("root")
    root.raise_request_exception = False
    seen = {}
    for address in _addresses("0", name):
        for send in (root.get, root.post):
            seen[(address, send.__name__)] = send(address).status_code
    assert {k: v for k, v in seen.items() if v >= 500} == {}
    of_jobs = {k: v for k, v in seen.items() if f"queues/0/{name}/" in k[0] and v != 404}
    # stopping is a POST, and says on the page it leads to that there was nothing to stop
    assert {address.rpartition("/stop/")[1] for address, _ in of_jobs} <= {"/stop/"}


@pytest.mark.req("S30", "T-03", "V-12")
@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_a_queue_number_that_there_is_not_is_not_found_on_every_page_of_django_rq(
    number: str,
) -> None:
    root = client_of("root")
    root.raise_request_exception = False
    wrong = {}
    for address in _addresses(number, "nothing"):
        for send in (root.get, root.post):
            code = send(address).status_code
            if number in address and code not in (404, 405):
                wrong[(address, send.__name__)] = code
    assert wrong == {}
    assert not AuditEntry.objects.filter(refused=False, target__contains=number).exists()


@pytest.mark.req("S30", "V-12")
@pytest.mark.parametrize("query", ["page=x", "page=-1", "page=" + "9" * 30, "desc=x"])
def test_a_page_number_that_is_none_breaks_no_page_of_django_rq(query: str) -> None:
    root = client_of("root")
    root.raise_request_exception = False
    submit("debug:noop")
    codes = {a: root.get(f"{a}?{query}").status_code for a in _addresses("0", "nothing")}
    assert {a: code for a, code in codes.items() if code >= 500} == {}


@pytest.mark.req("S30", "A-06", "T-06")
def test_django_rqs_pages_change_nothing_while_read_only_and_say_so(settings: Settings) -> None:
    root, task = client_of("root"), submit("debug:noop")
    said = "Read-only: changes are refused"
    pages = [BASE, f"{BASE}queues/0/", f"{BASE}queues/0/failed/"]
    assert not any(said in text(root.get(page)) for page in pages)
    settings.ASYNQ_READONLY = True
    for page in pages:
        assert said in text(root.get(page)), page
    before = _tickets()
    posts = [a for a in _addresses("0", task.job_id) if "queues/" in a]
    for address in posts:
        assert root.post(address, {"action": "delete", "job_ids": task.job_id}).status_code == 403
    assert _tickets() == before != []
    assert AuditEntry.objects.filter(refused=True).count() == len(posts)
    assert set(AuditEntry.objects.values_list("reason", flat=True)) == {
        "read-only (ASYNQ_READONLY)"
    }


def _tickets() -> Any:
    return get_queue_by_index(0).connection.keys("*")
