"""Hostile inputs on every route: bodies, fields, paths, queries and headers; a clear refusal, nothing stored (F25).

The walk follows the routes and the types of their bodies: a new one is attacked without being named here.
"""

from typing import Any

import msgspec
import pytest
from django.test import Client

from jobs.operations import keys
from jobs.store import postgres
from queues_admin.api import guessing, throttle, urls
from tests.support import api
from tests.support.api import ApiClient

NASTY, LONE = "\u0000", "\ud800"
VERBS = ("GET", "POST", "PATCH", "DELETE")
# Refusals; a hostile value may also be a good one (a long reason, an empty list), then nothing may break.
FINE = {200, 201, 202, 204}
REFUSED = {400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 415, 422, 428, 429, 431}
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a list of nulls": b"[null, null]",
    "a number": b"1e400",
    "text": b'"\\u0000"',
    "NUL": b'{"a": "\x00"}',
    "not UTF-8": b'{"reason": "\xff\xfe"}',
    "UTF-16": '{"reason": "x"}'.encode("utf-16"),
    "cut off": b'{"reason": "',
    "NaN": b'{"count": NaN}',
    "deep": b'{"filter": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "deeper": b"[" * 200_000,
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "a huge number": b'{"count": ' + b"9" * 5_000 + b"}",
    "twice": b'{"reason": "a", "reason": "b"}',
    "many keys": b"{" + b",".join(b'"k%d": 1' % n for n in range(20_000)) + b"}",
}
VALUES: tuple[Any, ...] = (
    None,
    NASTY,
    LONE,
    "x" * 70_000,
    "\u202e\u2066javascript:alert(1)",
    "'; DROP TABLE task; --",
    10**30,
    -(2**63),
    1.5e308,
    True,
    [],
    [None],
    {},
    {NASTY: NASTY},
    {"a": {"b": [[[[]]]]}},
)
PATHS = (
    "%00",
    "%ED%A0%80",
    "..%2F..",
    "x" * 3_000,
    "%F0%9F%92%A9",
    "-1",
    "9" * 400,
    "%27",
    "%0d%0aX:y",
)
HEADERS: tuple[dict[str, str], ...] = (
    {"Authorization": "Bearer \x00"},
    {"Authorization": "Bearer " + "x" * 20_000},
    {"Authorization": "Bearer tc_live_\ud83d\ude00_x"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "multipart/form-data; boundary=" + "x" * 300},
    {"Content-Encoding": "gzip"},
    {"Content-Length": "-1"},
    {"Accept": "\x00, */*;q=NaN"},
    {"Accept-Language": "x" * 5_000},
    {"Idempotency-Key": "\x00"},
    {"Idempotency-Key": "k" * 10_000},
    {"X-Request-ID": "a\r\nSet-Cookie: b=c"},
    {"X-Forwarded-For": "'; DROP TABLE task; --, ::1%eth0"},
    {"Host": "evil.example:99999999"},
    {"If-Match": '"' + "9" * 400},
    {"X-HTTP-Method-Override": "DELETE"},
)
_COUNTED = (
    "task",
    "schedule",
    "platform",
    "plan",
    "account",
    "credit_entry",
    "api_key",
    "tenant",
    "idempotency",
    "webhook_delivery",
)


def _routes() -> list[tuple[str, type[Any]]]:
    found = [(str(p.pattern), getattr(p.callback, "cls", None)) for p in urls.urlpatterns]
    return [(route, view) for route, view in found if view is not None]


def _path(route: str, part: str = "nothing-here") -> str:
    """The route with `part` in place of each of its path parts."""
    return "/" + "/".join(part if step[:1] in ("<", "{") else step for step in route.split("/"))


ROUTES = _routes()


@pytest.fixture
def caller(transactional_db: None, redis: Any, monkeypatch: pytest.MonkeyPatch) -> ApiClient:
    """An admin, whom no rate limit stops: only what is answered counts here."""
    monkeypatch.setattr(guessing, "MOST", 10**9)
    monkeypatch.setattr(throttle, "refuse_if_over", lambda _share: None)
    api.forget()
    made = keys.create(name="hostile", scopes=["admin"])
    return ApiClient(key=made.key, client=Client(raise_request_exception=False))


def _stored() -> dict[str, int]:
    known = {
        r[0] for r in postgres.query("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')")
    }
    return {
        table: postgres.query(f"SELECT count(*) FROM {table}")[0][0]
        for table in _COUNTED
        if table in known
    }


def _send(caller: ApiClient, method: str, path: str, body: Any, **headers: str) -> int:
    response = caller.call(method, path, body, **headers)
    assert response.status_code in FINE | REFUSED, (
        method,
        path[:200],
        str(body)[:200],
        response.content,
    )
    return int(response.status_code)


@pytest.mark.req("F25", "A-03", "A-04")
@pytest.mark.parametrize(("route", "view"), ROUTES, ids=[route for route, _ in ROUTES])
def test_whatever_is_sent_to_a_route_is_refused_and_nothing_is_stored(
    caller: ApiClient, route: str, view: type[Any]
) -> None:
    before = _stored()
    for verb in VERBS:
        answers = {_send(caller, verb, _path(route), body) for body in BODIES.values()}
        if not hasattr(view, verb.lower()):
            assert answers <= {404, 405, 413, 400}, (verb, answers)
        for part in PATHS if "<" in route else ():
            _send(caller, verb, _path(route, part), b"{}")
        for query in (
            "%00=1",
            "limit=%00",
            "cursor=%ED%A0%80",
            "limit=" + "9" * 400,
            "&".join(["limit=1"] * 2_000),
        ):
            _send(caller, verb, f"{_path(route)}?{query}", b"{}" if verb != "GET" else None)
        for headers in HEADERS:
            sent = {name.replace("-", "_"): value for name, value in headers.items()}
            _send(caller, verb, _path(route), b"[]", **sent)
    assert _stored() == before


@pytest.mark.req("F25", "A-03", "S-07")
def test_no_value_of_any_field_of_any_body_breaks_its_route(caller: ApiClient) -> None:
    document = caller.get("/schema", Accept="application/vnd.oai.openapi+json").json()
    schemas, seen = document["components"]["schemas"], 0
    for path, operations in document["paths"].items():
        for verb in {"post", "patch"} & set(operations):
            for name in _fields(operations[verb], schemas):
                seen += 1
                for value in VALUES:
                    raw = msgspec.json.encode({name: value}) if value != LONE else b""
                    raw = raw or b'{"%s": "\\ud800"}' % name.encode()
                    _send(caller, verb.upper(), _path(path.removeprefix("/api/v1/")), raw)
    assert seen > 60


def _fields(operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    named = schema.get("$ref", "").rpartition("/")[2]
    return list(schemas.get(named, schema).get("properties", {}))
