"""Hostile and mistaken inputs get a clear 4xx, and nothing is stored."""

from typing import Any

import pytest

from jobs.store import postgres
from tests.support import api
from tests.support.api import ApiClient, error

KIB = 1024


@pytest.fixture
def caller(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("admin")


def _echo(payload: str) -> bytes:
    return f'{{"type": "debug:echo", "payload": {payload}}}'.encode()


BODIES: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 400),
    ("null", b"null", 400),
    ("a list", b"[]", 400),
    ("a number", b"1", 400),
    ("not JSON", b"{type: 1}", 400),
    ("cut off", b'{"type": "debug:noop"', 400),
    ("two values", b'{"type": "debug:noop"} {}', 400),
    ("not UTF-8", b'{"type": "\xff"}', 400),
    ("UTF-16", '{"type": "debug:noop"}'.encode("utf-16"), 400),
    ("NaN", _echo("NaN"), 400),
    ("an unknown field", b'{"type": "debug:noop", "nope": 1}', 400),
    ("a read-only field", b'{"type": "debug:noop", "state": "completed"}', 400),
    ("no type", b"{}", 422),
    ("a wrong type", b'{"type": 5}', 422),
    ("an unknown type", b'{"type": "no:such"}', 422),
    ("an empty type", b'{"type": ""}', 422),
    ("a type with NUL", b'{"type": "debug:noop\\u0000"}', 422),
    ("NUL in a value", _echo('{"a": "\\u0000"}'), 422),
    ("NUL in a key", _echo('{"a\\u0000": 1}'), 422),
    ("a lone surrogate", _echo('"\\ud800"'), 422),
    ("a lone surrogate in the middle", _echo('"a\\udc00b and more text"'), 422),
    ("an endless number", _echo("1e400"), 422),
    ("a huge number", _echo("9" * 5000), 422),
    ("NUL in a tag", b'{"type": "debug:noop", "tags": ["\\u0000"]}', 422),
    ("NUL in the queue", b'{"type": "debug:noop", "queue": "\\u0000"}', 422),
    ("NUL in the callback", b'{"type": "debug:noop", "callback_url": "http://a/\\u0000"}', 422),
    ("NUL in the platform", b'{"type": "platform:run", "platform": "\\u0000"}', 422),
    ("the dead letters", b'{"type": "debug:noop", "queue": "dead_letter"}', 422),
    ("an unknown queue", b'{"type": "debug:noop", "queue": "no"}', 422),
    ("a negative retry", b'{"type": "debug:noop", "max_retries": -1}', 422),
    ("a month of timeout", b'{"type": "debug:noop", "timeout": 2600000}', 422),
    ("a date without a zone", b'{"type": "debug:noop", "process_at": "2030-01-01T00:00:00"}', 422),
    ("a date before all", b'{"type": "debug:noop", "deadline": "0001-01-01T00:00:00+14:00"}', 422),
    ("a date after all", b'{"type": "debug:noop", "process_at": "9999-12-31T23:59:59-12:00"}', 422),
    ("a huge user", b'{"type": "debug:noop", "user_id": 99999999999999999999}', 422),
    ("negative credits", b'{"type": "debug:noop", "user_id": 1, "credits": -5}', 422),
    ("half a credit", b'{"type": "debug:noop", "user_id": 1, "credits": 1.5}', 422),
    ("credits as text", b'{"type": "debug:noop", "user_id": 1, "credits": "5"}', 422),
    ("deep nesting", _echo("[" * 40 + "]" * 40), 413),
    ("absurd nesting", _echo("[" * 100_000 + "]" * 100_000), 413),
    ("a large payload", _echo(f'"{"x" * (65 * KIB)}"'), 413),
    ("a huge body", _echo(f'"{"x" * (2 * KIB * KIB)}"'), 413),
]


@pytest.mark.req("S-07", "A-03", "A-04", "S15", "S16")
@pytest.mark.parametrize(("body", "status"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
def test_a_bad_body_is_refused_and_nothing_is_stored(
    caller: ApiClient, body: bytes, status: int
) -> None:
    found = error(caller.post("/tasks", body), status)
    assert found["code"]
    assert postgres.query("SELECT count(*) FROM task") == [(0,)]


@pytest.mark.req("S-07")
def test_a_bad_body_does_not_use_up_its_idempotency_key(caller: ApiClient) -> None:
    error(caller.post("/tasks", {"type": "debug:noop", "queue": "no"}, Idempotency_Key="k"), 422)
    api.data(caller.post("/tasks", {"type": "debug:noop"}, Idempotency_Key="k"), 201)


@pytest.mark.req("A-03", "A-04", "S11")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("nope=1", 400),
        ("cursor=%00", 422),
        ("cursor=!!", 400),
        ("cursor=AAAA", 400),
        ("limit=0", 422),
        ("limit=101", 422),
        ("limit=x", 422),
        ("state=gone", 422),
        ("status=gone", 422),
        ("queue=gone", 422),
        ("user_id=abc", 422),
        ("user_id=null", 422),
        ("user_id=99999999999999999999", 200),
        ("created_after=yesterday", 422),
        ("created_after=2020-01-01T00:00:00", 422),
        ("created_after=0001-01-01T00:00:00Z", 422),
        ("payload=1", 400),
        ("payload.=1", 422),
        ("payload.a..b=1", 422),
        ("q=%ED%A0%80", 200),
        ("tag=%00", 422),
        ("payload.a=%00", 422),
        ("state=pending&state=active", 200),
    ],
)
def test_a_bad_parameter_is_refused(caller: ApiClient, query: str, status: int) -> None:
    response = caller.get(f"/tasks?{query}")
    assert response.status_code == status, response.content


@pytest.mark.req("A-01")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("page=0", 422),
        ("size=101", 422),
        ("state=gone", 422),
        ("queue=gone", 422),
        ("page=999999&size=100", 422),
        ("x=1", 400),
    ],
)
def test_a_bad_parameter_of_the_guides_list_is_refused(
    caller: ApiClient, query: str, status: int
) -> None:
    error(caller.get(f"/queue/tasks?{query}"), status)


@pytest.mark.req("A-03")
def test_an_unknown_path_and_method_are_said_in_the_apis_shape(caller: ApiClient) -> None:
    assert error(caller.get("/nowhere"), 404)["code"] == "not_found"
    response = caller.call("PUT", "/tasks", {})
    assert error(response, 405)["code"] == "method_not_allowed"
    assert response.headers["Allow"] == "GET, POST"


@pytest.mark.req("A-03")
def test_errors_come_as_problem_json_when_asked_for(caller: ApiClient) -> None:
    response = caller.get("/tasks/nothing", Accept="application/problem+json")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == "urn:taskcenter:error:task_not_found"
    assert body["status"] == 404
    assert {"title", "detail", "instance", "code", "request_id"} <= set(body)


@pytest.mark.req("A-03", "S-10")
def test_a_task_to_wait_for_is_named_as_it_was_sent(caller: ApiClient) -> None:
    sent = ["task_nope", "my-own-name"]
    refused = error(caller.post("/tasks", {"type": "debug:noop", "after": sent}), 422)
    assert sorted(refused["details"]["after"]) == sorted(sent)


@pytest.mark.req("A-03", "V-13")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"priority": 9}, "没有优先级 '9'"),
        ({"process_at": "soon"}, "无效的 RFC 3339 时间，位置：`process_at`"),
        ({"nope": 1}, "对象含有未知字段 `nope`"),
    ],
)
def test_what_is_wrong_is_said_in_chinese_to_whoever_asks_for_it(
    caller: ApiClient, body: dict[str, Any], said: str
) -> None:
    answer = caller.post("/tasks", {"type": "debug:noop", **body}, Accept_Language="zh-Hans")
    assert answer.json()["message"] == said
