"""A refusal names what was wrong without giving it all back: a caller's megabytes stay the caller's."""

from typing import Any

import pytest
from django.core.management.base import CommandError

from jobs.domain.errors import Invalid
from jobs.models import AuditEntry
from tests.support import api
from tests.support.cli import run

pytestmark = pytest.mark.usefixtures("engine")

LONG = "x" * 900_000
MOST = 8_000
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/tasks", {"type": "debug:noop", "queue": LONG}),
    ("/tasks", {"type": LONG}),
    ("/tasks", {"type": "debug:noop", "task_id": LONG}),
    ("/tasks", {"type": "debug:noop", "after": [LONG]}),
    ("/tasks", {"type": "debug:noop", "callback_url": LONG}),
    ("/tasks", {"type": "debug:noop", "priority": LONG}),
    ("/tasks", {"type": "debug:noop", "limit": {"rate": LONG}, "limit_key": "k"}),
    ("/tasks", {"type": "platform:run", "platform": LONG}),
    ("/tasks", {"type": "debug:noop", LONG: 1}),
    ("/tasks", {"type": "debug:sleep", "payload": {LONG: 1}}),
    ("/tasks", {"type": "debug:sleep", "payload": {"seconds": 1, "lane": LONG}}),
    ("/tasks/batch", {"tasks": [{"type": "debug:noop", "queue": LONG}]}),
    ("/keys", {"name": "k", "scopes": [LONG]}),
    ("/keys", {"name": "k", "scopes": ["x"] * 200_000}),
    ("/keys", {"name": "k", "scopes": ["read"], "tenant": LONG}),
    ("/schedules", {"name": "n", "cron": LONG, "type": "debug:noop"}),
    ("/schedules", {"name": "n", "cron": "@daily", "timezone": LONG, "type": "debug:noop"}),
    ("/schedules", {"name": "n", "cron": "@daily", "type": "debug:noop", "queue": LONG}),
    ("/plans", {"action": "cancel", "filter": {"queue": LONG}}),
    ("/plans", {"action": "cancel", "filter": {"states": [LONG]}}),
    ("/plans", {"action": LONG, "filter": {"queue": "low"}}),
    ("/queue/tasks/cancel/batch", {"task_ids": ["y" * 512] * 100}),
    ("/queue/tasks/cancel", {"task_id": LONG}),
    ("/platforms", {"name": "p", "protocol": "fal", "base_url": f"https://{LONG}"}),
    (
        "/platforms",
        {"name": "p", "protocol": "generic", "base_url": "https://x.test", "options": {LONG: LONG}},
    ),
    ("/tenants", {"slug": LONG}),
    ("/accounts/7", {"grant": 10**4000, "reason": "x"}),
]


@pytest.mark.req("A-03", "A-04", "S15")
@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("accept", ["application/json", "application/problem+json"])
def test_a_refusal_of_a_long_value_is_short(path: str, body: dict[str, Any], accept: str) -> None:
    answer = api.client("admin").post(path, body, Accept=accept)
    most = 130_000 if path == "/queue/tasks/cancel/batch" else MOST  # it lists a hundred ids
    assert 200 <= answer.status_code < 500, answer.content[:300]
    assert len(answer.content) < most, (answer.status_code, answer.content[:300])


@pytest.mark.req("A-03", "S15")
def test_a_refusal_of_a_long_word_in_the_path_or_query_is_short() -> None:
    caller, long = api.client("admin"), "x" * 20_000
    for address in (
        f"/tasks/{long}",
        f"/queues/{long}",
        f"/schedules/{long}",
        f"/plans/{long}",
        f"/accounts/{long}",
        f"/platforms/{long}",
        f"/workers/{long}",
        f"/tasks?queue={long}",
        f"/tasks?state={long}",
        f"/tasks?{long}=1",
        f"/tasks?cursor={long}",
        f"/queue/tasks?queue={long}",
        f"/accounts?tenant={long[:512]}",
        f"/breakers/{long}",
    ):
        answer = caller.get(address)
        assert answer.status_code < 500
        assert len(answer.content) < MOST, (address[:30], len(answer.content))
    caller.post(f"/workers/{long}/quiet")
    assert all(len(str(e.reason)) + len(str(e.after)) < MOST for e in AuditEntry.objects.all())


@pytest.mark.req("A-03", "D-05")
def test_the_command_line_repeats_no_long_value() -> None:
    for words in (["tasks", "submit", LONG], ["queues", "pause", LONG], ["tasks", "inspect", LONG]):
        with pytest.raises(CommandError) as refused:
            run(*words)
        assert len(str(refused.value)) < MOST


@pytest.mark.req("A-03")
def test_what_is_short_is_repeated_whole() -> None:
    error = Invalid("There is no '%(name)s' in %(given)s", name="n" * 500, given=["a", 1, {"b": 2}])
    assert error.details == {"name": "n" * 500, "given": ["a", 1, {"b": 2}]}
    assert Invalid("x", users=list(range(1000))).details["users"] == list(range(1000))
