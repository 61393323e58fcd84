"""Rates are the same whichever web process answers."""

from typing import Any

import httpx
import pytest

from jobs.operations import keys
from jobs.operations.tasks import submit
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.req("V-01")
def test_a_web_process_that_has_just_started_tells_the_rates_that_its_elder_tells(
    processes: Processes, redis: object
) -> None:
    headers = {"Authorization": f"Bearer {keys.create(name='k', scopes=['read']).key}"}
    elder = processes.web()

    def hour(url: str) -> dict[str, Any]:
        answer = httpx.get(f"{url}/api/v1/queue/overview", headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["data"]["rates"]["hour"]
        return found

    eventually(lambda: hour(elder)["span_s"] > 0, timeout_s=20)
    for _ in range(7):
        submit("debug:noop")
    younger = processes.web()
    told = [hour(url) for url in (elder, younger, elder, younger)]
    assert [rate["submitted"] for rate in told] == [7, 7, 7, 7]
    spans = [rate["span_s"] for rate in told]
    assert max(spans) - min(spans) < 5
