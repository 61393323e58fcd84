"""The API behind the real web server."""

import httpx
import pytest

from jobs.operations import keys


@pytest.mark.req("S-01", "A-01", "M-01", "M-05")
def test_the_web_server_takes_a_task_and_shows_it(live: str) -> None:
    key = keys.create(name="live", scopes=["admin"]).key
    with httpx.Client(base_url=live, headers={"Authorization": f"Bearer {key}"}) as client:
        made = client.post(
            "/api/v1/enqueue", json={"type": "debug:echo", "payload": {"a": [1, "é"]}}
        )
        assert made.status_code == 201
        assert client.get(made.headers["Location"]).json() == {**made.json()}
        waited = client.get(f"{made.headers['Location']}?wait=0.3")
        assert waited.json()["data"]["state"] == "pending"
        stats = client.get("/api/v1/queue/stats").json()["data"]
        assert stats["default"]["pending"] == 1
        assert (
            'asynq_pending_tasks{queue="default"} 1.0' in client.get("/metrics").text.splitlines()
        )
        assert client.get("/readyz").status_code == 200
        assert client.post("/api/v1/tasks", content=b"[" * 2_000_000).status_code == 413


@pytest.mark.req("A-03")
def test_a_post_refused_before_its_body_is_read_ends_its_connection_in_good_form(live: str) -> None:
    with httpx.Client(base_url=live, timeout=20) as client:
        for _ in range(
            300
        ):  # without the word a hundredth of them met a server that had just hung up
            refused = client.post("/api/v1/tasks", json={"type": "debug:noop"})
            assert refused.status_code == 401
            assert refused.headers["Connection"] == "close"
        kept = client.get("/api/v1/tasks")
        assert (kept.status_code, kept.headers.get("Connection")) == (401, None)
