"""No tenant can read or touch another's: every route is walked with another tenant's ids (S01).

The walk follows the routes: a new one fails here until somebody says what a stranger may try on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from django.test import Client

from jobs.models import AuditEntry, Breaker, Worker
from jobs.operations import keys, tenants, workers
from queues_admin.api import urls
from tests.support import api
from tests.support.api import ApiClient, data

MARK = "zqmark"
USER = 41
NOOP = {"type": "debug:noop"}


@dataclass
class Estate:
    """What a tenant has: ids by what they are called in paths."""

    client: ApiClient
    task: str
    schedule: str
    plan: str
    key: str
    platform: str
    queue: str
    worker: str
    user: str = str(USER)
    slug: str = "default"


def _client(tenant_id: int, *scopes: str) -> ApiClient:
    made = keys.create(name=f"{MARK}-{tenant_id}", scopes=list(scopes), tenant_id=tenant_id)
    return ApiClient(key=made.key, client=Client(raise_request_exception=False))


def _estate(tenant_id: int, slug: str) -> Estate:
    """One of everything, marked; a breaker that exists, too."""
    client = _client(tenant_id, "admin")
    task = {
        **NOOP,
        "process_in": 600,
        "business_id": MARK,
        "payload": {"word": MARK},
        "tags": [MARK],
    }
    platform = {"name": f"{MARK}-p", "protocol": "fal", "base_url": f"https://{MARK}.test"}
    made = data(client.post("/tasks", task), 201)
    data(client.post(f"/accounts/{USER}", {"grant": 777, "reason": MARK}))
    schedule = data(client.post("/schedules", {"name": MARK, "cron": "@daily", **NOOP}), 201)
    filter_ = {"action": "cancel", "filter": {"business_id": MARK}, "reason": MARK}
    named = data(client.post("/platforms", platform), 201)["name"]
    Breaker.objects.create(name=f"platform:{named}")
    return Estate(
        client=client,
        task=made["task_id"],
        schedule=str(schedule["id"]),
        plan=str(data(client.post("/plans", filter_), 201)["id"]),
        key=data(client.get("/keys"))["items"][0]["key_id"],
        platform=named,
        queue=made["queue"],
        worker=str(workers.register(f"{MARK}-w", {})),
        slug=slug,
    )


# What a path part stands for, by the first word of the route.
PARTS: dict[str, Callable[[Estate], str]] = {
    "tasks": lambda e: e.task,
    "status": lambda e: e.task,
    "queue": lambda e: e.task,
    # `default` is also the short name of the stranger's own queue
    "queues": lambda e: e.queue if ":" in e.queue else "dead_letter",
    "workers": lambda e: e.worker,
    "schedules": lambda e: e.schedule,
    "plans": lambda e: e.plan,
    "platforms": lambda e: e.platform,
    "breakers": lambda e: f"platform:{e.platform}",
    "accounts": lambda e: e.user,
    "keys": lambda e: e.key,
    "tenants": lambda e: e.slug,
}
# Bodies that reach the question whose thing it is; {} where any body does.
BODIES: dict[str, dict[str, Any]] = {
    "PATCH tasks/<str:task_id>": {"payload": {}},
    "PATCH queues/<str:name>": {"capacity": 5},
    "POST workers/<str:name>/concurrency": {"concurrency": 1},
    "POST platforms/<str:name>/breaker": {"state": "OPEN"},
    "POST breakers/<str:name>": {"state": "OPEN"},
}
# A user's number is each tenant's own: granting to it touches nobody else's account.
OWN_NUMBERS = {"POST accounts/<str:user_id>"}
# Without a key: the platform's signature stands in for it, or there is no data.
KEYLESS = {"webhooks/<str:platform>", "schema", "docs", "<path:rest>", ""}


def _tries(e: Estate) -> dict[str, list[tuple[str, Any, set[int]]]]:
    """For each route without a path part: (query, body, answers that say nothing of another tenant)."""
    named = {"task_id": e.task}
    wrong: list[dict[str, Any]] = [
        {**NOOP, "after": [e.task]},
        {**NOOP, "queue": e.queue},
        {"type": "platform:run", "platform": e.platform},
    ]
    submits = [("", body, {404, 409, 422}) for body in wrong]
    return {
        "GET tasks": [
            ("", None, {200}),
            (f"?business_id={MARK}", None, {200}),
            (f"?tenant={e.slug}", None, {403}),
        ],
        "POST tasks": submits,
        "POST enqueue": submits,
        "POST tasks/batch": [("", {"tasks": wrong}, {200})],
        "GET queue/stats": [("", None, {200})],
        "GET queue/health": [("", None, {200})],
        "GET queue/overview": [("", None, {404})],
        "GET queue/tasks": [
            (f"?queue={e.queue}&state=scheduled", None, {200, 422}),
            ("?queue=default&state=scheduled", None, {200}),
            (f"?queue=default&state=scheduled&tenant={e.slug}", None, {403}),
            ("?queue=dead_letter&state=archived", None, {200}),
        ],
        "POST queue/tasks/retry": [("", named, {404})],
        "POST queue/tasks/archive": [("", named, {404})],
        "POST queue/tasks/cancel": [("", named, {404}), ("", {**named, "force": True}, {404})],
        "POST queue/tasks/cancel/batch": [
            ("", {"task_ids": [e.task]}, {200}),
            (f"?tenant={e.slug}", {"task_ids": [e.task]}, {403}),
        ],
        "GET queues": [("", None, {200})],
        "GET workers": [("", None, {404})],
        "GET schedules": [("", None, {200}), (f"?tenant={e.slug}", None, {403})],
        "POST schedules": [
            ("", {"name": "n", "cron": "@daily", **body}, {422}) for body in wrong[1:]
        ],
        "GET plans": [("", None, {200}), (f"?tenant={e.slug}", None, {403})],
        "POST plans": [
            ("", {"action": "cancel", "filter": {"queue": e.queue}}, {422}),
            ("", {"action": "cancel", "filter": {"user_id": USER}}, {201}),
            (f"?tenant={e.slug}", {"action": "cancel", "filter": {"user_id": USER}}, {403}),
        ],
        "GET platforms": [("", None, {200})],
        "POST platforms": [],  # names are each tenant's own: test_tenants
        "GET breakers": [("", None, {200})],
        "GET accounts": [("", None, {200}), (f"?tenant={e.slug}", None, {403})],
        "GET keys": [("", None, {200})],
        "POST keys": [("", {"name": "k", "scopes": ["read"], "tenant": e.slug}, {422})],
        "GET tenants": [("", None, {404})],
        "POST tenants": [("", {"slug": "evil"}, {404})],
        "GET audit": [("", None, {200}), ("?action=schedule.create", None, {200})],
    }


def _routes() -> list[tuple[str, str]]:
    """(METHOD, route) of every endpoint; fails for one that neither asks for a key nor is known not to."""
    found = []
    for pattern in urls.urlpatterns:
        route = str(pattern.pattern)
        view = getattr(pattern.callback, "cls", None)
        if route in KEYLESS:
            continue
        assert view is not None, f"{route}: asks for no key?"
        methods = [m for m in ("GET", "POST", "PATCH", "DELETE") if hasattr(view, m.lower())]
        assert methods, route
        found += [(method, route) for method in methods]
    return found


@pytest.fixture
def house(engine: None) -> Estate:
    api.forget()
    return _estate(1, "default")


@pytest.fixture
def acme(house: Estate) -> Estate:
    return _estate(tenants.create("acme").pk, "acme")


@pytest.fixture
def stranger(acme: Estate) -> ApiClient:
    """Another tenant's admin, who has nothing."""
    made = keys.create(name="stranger", scopes=["admin"], tenant_id=tenants.create("other").pk)
    return ApiClient(key=made.key, client=Client(raise_request_exception=False))


def _seen(e: Estate) -> Any:
    """Everything of an estate as its owner sees it."""
    paths = (
        f"/tasks/{e.task}",
        f"/tasks/{e.task}/events",
        f"/schedules/{e.schedule}",
        f"/plans/{e.plan}",
        f"/platforms/{e.platform}",
        f"/platforms/{e.platform}/breaker",
        f"/accounts/{e.user}",
        f"/queues/{e.queue}",
        "/tasks",
    )
    found = {path: data(e.client.get(path)) for path in paths}
    for row in (found[f"/queues/{e.queue}"],):
        row.pop("oldest_pending_s")
    return found


def _concrete(route: str, part: str) -> str:
    start, _, rest = route.partition("<")
    return f"/{start}{part}{rest.partition('>')[2]}"


@pytest.mark.req("T-01", "S01")
@pytest.mark.parametrize("owner", ["house", "acme"])
def test_every_route_with_anothers_id_answers_404_and_changes_nothing(
    stranger: ApiClient, owner: str, request: pytest.FixtureRequest
) -> None:
    estate: Estate = request.getfixturevalue(owner)
    before, noted = _seen(estate), AuditEntry.objects.filter(refused=False).count()
    wrong = []
    for method, route in _routes():
        if "<" not in route:
            continue
        first = route.partition("/")[0]
        assert first in PARTS, f"{method} {route}: say in PARTS what a stranger may try"
        if f"{method} {route}" in OWN_NUMBERS:
            continue
        parts = [PARTS[first](estate)]
        if first in ("tasks", "status", "queue"):
            parts.append(f"job:{parts[0]}:0")
        for part in parts:
            body = None if method in ("GET", "DELETE") else BODIES.get(f"{method} {route}", {})
            for query, allowed in (("", {404}), (f"?tenant={estate.slug}", {400, 403, 404})):
                response = stranger.call(method, _concrete(route, part) + query, body)
                if response.status_code not in allowed or MARK in _told(response, part):
                    wrong.append((method, route, part + query, response.status_code))
    assert wrong == []
    assert _seen(estate) == before
    assert set(Worker.objects.values_list("command", flat=True)) == {""}
    assert AuditEntry.objects.filter(refused=False).count() == noted


@pytest.mark.req("T-01", "S01")
@pytest.mark.parametrize("owner", ["house", "acme"])
def test_no_list_or_body_gives_a_stranger_anything_of_anothers(
    stranger: ApiClient, owner: str, request: pytest.FixtureRequest
) -> None:
    estate: Estate = request.getfixturevalue(owner)
    before, tries = _seen(estate), _tries(estate)
    if owner == "house":  # this queue's name is also the short name of the stranger's own
        for found in tries.values():
            found[:] = [t for t in found if not _names_own_queue(t[0], t[1])]
    routes = {f"{method} {route}" for method, route in _routes() if "<" not in route}
    assert set(tries) == routes, "say in _tries what a stranger may try"
    wrong = []
    for name, found in tries.items():
        method, _, route = name.partition(" ")
        for query, body, allowed in found:
            response = stranger.call(method, f"/{route}{query}", body)
            asked = [estate.platform] if body is not None else [MARK] if MARK in query else []
            said = MARK in _told(response, *asked)
            if response.status_code not in allowed or said or estate.key in _told(response):
                wrong.append((name, query, body, response.status_code, response.content))
    assert wrong == []
    batch = data(stranger.post("/tasks/batch", {"tasks": [{**NOOP, "after": [estate.task]}]}))
    assert batch["accepted"] == 0
    cancelled = data(stranger.post("/queue/tasks/cancel/batch", {"task_ids": [estate.task]}))
    assert cancelled["results"][0]["error"]["code"] == "task_not_found"
    assert all(p["preview"]["tasks"] == 0 for p in data(stranger.get("/plans"))["items"])
    assert data(stranger.get("/queue/tasks?queue=dead_letter&state=archived"))["total"] == 0
    assert _seen(estate) == before


@pytest.mark.req("T-01", "S01")
def test_lists_of_a_stranger_are_empty(stranger: ApiClient) -> None:
    for path in (
        "/tasks",
        "/schedules",
        "/plans",
        "/platforms",
        "/breakers",
        "/accounts",
        "/audit",
    ):
        found = data(stranger.get(path))
        assert (found["items"], found["estimated_total"]) == ([], 0), path
    names = {queue["queue"].partition(":")[0] for queue in data(stranger.get("/queues"))["items"]}
    assert names == {"other"}
    assert all(stats["size"] == 0 for stats in data(stranger.get("/queue/stats")).values())


@pytest.mark.req("T-01")
def test_a_users_number_is_each_tenants_own(stranger: ApiClient, acme: Estate) -> None:
    assert data(stranger.post(f"/accounts/{USER}", {"grant": 5, "reason": "r"}))["balance"] == 5
    assert data(acme.client.get(f"/accounts/{USER}"))["balance"] == 777
    assert len(data(stranger.get(f"/accounts/{USER}/entries"))["items"]) == 1


@pytest.mark.req("T-01")
def test_keys_of_the_default_tenant_find_no_task_platform_or_account_of_another(
    acme: Estate,
) -> None:
    house = _client(1, "admin")
    for path in (
        f"/tasks/{acme.task}",
        f"/status/{acme.task}",
        f"/schedules/{acme.schedule}",
        f"/plans/{acme.plan}",
        f"/platforms/{acme.platform}",
    ):
        assert house.get(path).status_code == 404, path
    assert house.post("/queue/tasks/cancel", {"task_id": acme.task}).status_code == 404
    reader = _client(1, "operate", "read")
    assert reader.get(f"/queues/{acme.queue}").status_code == 404
    assert reader.post(f"/queues/{acme.queue}/pause").status_code == 404
    assert house.get(f"/queues/{acme.queue}").status_code == 200


@pytest.mark.req("T-01", "S29")
def test_an_idempotency_key_is_each_tenants_own(stranger: ApiClient, acme: Estate) -> None:
    for client, expected in ((acme.client, 777 + 3), (stranger, 3)):
        made = client.post(f"/accounts/{USER}", {"grant": 3, "reason": "r"}, Idempotency_Key="same")
        assert data(made)["balance"] == expected


def _told(response: Any, *asked: str) -> str:
    """The answer without what the stranger said himself."""
    text = str(response.content.decode())
    for word in asked:
        if word:
            text = text.replace(word, "")
    return text


def _names_own_queue(query: str, body: Any) -> bool:
    told = query + (msgspec.json.encode(body).decode() if body is not None else "")
    return '"queue":"default"' in told
