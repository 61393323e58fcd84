"""Rate limits of keys, guessing of keys, and idempotency keys on every POST."""

import threading
from typing import Any

import msgspec
import pytest
from django.db import connection, connections, transaction
from django.test import Client

from jobs.domain.errors import RateLimited, RedisUnavailable
from jobs.models import ApiKey, AuditEntry
from jobs.operations import duties, keys, repeats
from jobs.store import postgres, windows
from queues_admin.api import auth, guessing, urls
from queues_admin.api.throttle import Bucket
from tests.support import api
from tests.support.api import ApiClient, data, error

NOOP = {"type": "debug:noop"}


@pytest.fixture
def admin(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


def _grant(client: ApiClient, key: str, amount: int = 5) -> Any:
    return client.post("/accounts/7", {"grant": amount, "reason": "r"}, Idempotency_Key=key)


@pytest.mark.req("A-04")
def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(10.0, now_s=0.0)
    shares = [bucket.take(0.0) for _ in range(21)]
    assert [s.remaining for s in shares[:3]] == [19, 18, 17]
    assert [s.wait_s for s in shares[:20]] == [0.0] * 20
    assert shares[20].wait_s == pytest.approx(0.1)
    assert shares[19].reset_s == pytest.approx(2.0)
    assert bucket.take(0.1).wait_s == 0.0
    assert bucket.take(0.1).wait_s > 0
    assert bucket.take(100.0).remaining == 19


@pytest.mark.req("A-04")
def test_every_answer_tells_the_keys_limit_and_one_too_many_is_429(
    admin: ApiClient, settings: Any
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "RATE_PER_KEY": 1, "WEB_WORKERS": 1}
    first = admin.get("/queues")
    assert first.headers["RateLimit-Limit"] == "2"
    assert first.headers["RateLimit-Remaining"] == "1"
    assert first.headers["RateLimit-Reset"] == "1"
    error(admin.get("/nothing"), 404)  # no endpoint, no key asked
    error(admin.get("/tasks/unknown"), 404)
    refused = admin.get("/queues")
    assert error(refused, 429)["code"] == "rate_limited"
    assert (refused.headers["RateLimit-Remaining"], refused.headers["Retry-After"]) == ("0", "1")
    data(api.client("read", name="another").get("/queues"))


@pytest.mark.req("A-04")
def test_a_limit_is_shared_among_web_processes_and_zero_is_none(
    admin: ApiClient, settings: Any
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "RATE_PER_KEY": 100, "WEB_WORKERS": 4}
    assert admin.get("/queues").headers["RateLimit-Limit"] == "50"
    settings.TASKCENTER = {**settings.TASKCENTER, "RATE_PER_KEY": 0}
    assert "RateLimit-Limit" not in admin.get("/queues").headers


@pytest.mark.req("T-02", "A-04", "S06")
@pytest.mark.parametrize("with_redis", [True, False])
def test_guessing_keys_is_limited_per_address_and_known_keys_still_pass(
    admin: ApiClient, monkeypatch: pytest.MonkeyPatch, with_redis: bool
) -> None:
    if not with_redis:

        def away(*_: Any) -> Any:
            raise RedisUnavailable()

        monkeypatch.setattr(windows, "count_within", away)
    data(admin.get("/queues"))
    fresh = keys.create(name="fresh", scopes=["read"]).key
    for number in range(guessing.MOST):
        error(ApiClient(key=f"tc_live_x_{number}", client=admin.client).get("/queues"), 401)
    refused = ApiClient(key="tc_live_x_y", client=admin.client).get("/queues")
    assert error(refused, 429)["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    error(ApiClient(key=fresh, client=admin.client).get("/queues"), 429)
    data(admin.get("/queues"))
    elsewhere = Client(REMOTE_ADDR="198.51.100.9", raise_request_exception=False)
    data(ApiClient(key=fresh, client=elsewhere).get("/queues"))


@pytest.mark.req("T-02")
def test_other_processes_learn_of_guesses_through_redis_and_a_v6_neighbour_is_the_same_guesser(
    admin: ApiClient,
) -> None:
    for _ in range(guessing.MOST):
        guessing.failed("2001:db8::1")
    guessing.forget()  # as another process
    with pytest.raises(RateLimited):
        guessing.failed("2001:db8::2")
    guessing.failed("2001:db8:0:1::1")
    auth.forget()


@pytest.mark.req("A-04")
def test_a_repeated_post_changes_nothing_and_gets_the_first_answer(admin: ApiClient) -> None:
    first = _grant(admin, "gift-1")
    assert "Idempotent-Replayed" not in first.headers
    again = _grant(admin, "gift-1")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert data(admin.get("/accounts/7"))["balance"] == 5
    assert AuditEntry.objects.count() == 1
    assert error(_grant(admin, "gift-1", 6), 422)["code"] == "idempotency_mismatch"
    data(_grant(admin, "gift-2"))
    assert data(admin.get("/accounts/7"))["balance"] == 10


@pytest.mark.req("A-04", "T-02", "S04")
def test_a_new_key_is_answered_again_but_stands_nowhere_in_the_clear(admin: ApiClient) -> None:
    asked = {"name": "robot", "scopes": ["read"]}
    first = admin.post("/keys", asked, Idempotency_Key="k")
    again = admin.post("/keys", asked, Idempotency_Key="k")
    assert data(first, 201)["key"] == data(again, 201)["key"]
    assert ApiKey.objects.filter(name="robot").count() == 1
    [(stored,)] = postgres.query("SELECT answer::text FROM idempotency")
    assert data(first, 201)["key"] not in stored


@pytest.mark.req("A-04")
def test_a_refused_post_gives_its_key_back(admin: ApiClient) -> None:
    error(admin.post("/queues/low/resume", Idempotency_Key="r"), 409)
    data(admin.post("/queues/low/pause", Idempotency_Key="p"))
    data(admin.post("/queues/low/resume", Idempotency_Key="r"))
    error(admin.post("/queues/none/empty", Idempotency_Key="e"), 404)
    assert postgres.query("SELECT count(*) FROM idempotency") == [(2,)]


@pytest.mark.req("A-04", "S-06")
def test_a_batch_is_stored_once_and_its_key_is_not_that_of_a_task(admin: ApiClient) -> None:
    body = {"tasks": [NOOP, {"type": "no:such"}]}
    first = admin.post("/tasks/batch", body, Idempotency_Key="same")
    again = admin.post("/tasks/batch", body, Idempotency_Key="same")
    assert data(first) == data(again)
    data(admin.post("/tasks", NOOP, Idempotency_Key="same"), 201)
    data(admin.post("/queues/low/pause", Idempotency_Key="same"))
    assert postgres.query("SELECT count(*) FROM task") == [(2,)]


@pytest.mark.req("A-04")
@pytest.mark.parametrize("key", ["", "x" * 513, "a\tb"])
def test_an_idempotency_key_is_short_printable_text(admin: ApiClient, key: str) -> None:
    error(admin.post("/queues/low/pause", Idempotency_Key=key), 422)


@pytest.mark.req("A-04")
@pytest.mark.parametrize("path", ["/queues/low/empty", "/queue/tasks/cancel/batch"])
def test_a_change_of_many_steps_is_kept_too_and_an_abandoned_claim_is_taken_over(
    admin: ApiClient, path: str
) -> None:
    body = {"task_ids": ["x"]} if "batch" in path else None
    first = admin.post(path, body, Idempotency_Key="k")
    assert data(first) == data(admin.post(path, body, Idempotency_Key="k"))
    postgres.query("UPDATE idempotency SET answer = NULL RETURNING 1")
    assert error(admin.post(path, body, Idempotency_Key="k"), 409)["code"] == "conflict"
    postgres.query(
        "UPDATE idempotency SET created_at = now() - %s * interval '1 s' RETURNING 1",
        [repeats.ABANDONED_S + 1],
    )
    assert "Idempotent-Replayed" not in admin.post(path, body, Idempotency_Key="k").headers


@pytest.mark.req("A-04")
def test_of_concurrent_posts_with_one_key_one_is_carried_out(admin: ApiClient) -> None:
    answers: list[tuple[int, Any]] = []

    def post() -> None:
        response = _grant(ApiClient(key=admin.key, client=Client()), "one")
        answers.append((response.status_code, msgspec.json.decode(response.content)))
        connections.close_all()

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {status for status, _ in answers} <= {200, 409}
    assert data(admin.get("/accounts/7"))["balance"] == 5


@pytest.mark.req("A-04")
def test_whoever_waits_too_long_for_the_first_request_gets_409(admin: ApiClient) -> None:
    data(_grant(admin, "before"))  # warm
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        def act() -> repeats.Answer:
            held.set()
            release.wait(20)
            return repeats.Answer(status=200, body="{}", headers={})

        asked = msgspec.json.encode(["POST /api/v1/accounts/7", {"grant": 5, "reason": "r"}])
        repeats.once(
            repeats.Once(
                tenant_id=1, what="POST /api/v1/accounts/7", key="slow", asked=asked, whole=True
            ),
            act,
        )
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        assert error(_grant(admin, "slow"), 409)["code"] == "conflict"
    finally:
        release.set()
        thread.join(10)
        connection.close()


@pytest.mark.req("A-04")
def test_kept_answers_are_forgotten_after_their_time(admin: ApiClient) -> None:
    data(_grant(admin, "old"))
    postgres.query("UPDATE idempotency SET created_at = now() - interval '30 days' RETURNING 1")
    duties.prune()
    assert postgres.query("SELECT count(*) FROM idempotency") == [(0,)]


@pytest.mark.req("A-04")
def test_the_document_offers_an_idempotency_key_on_every_post() -> None:
    document = Client().get("/api/v1/schema").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names = [p["name"] for p in operation["parameters"]]
            expected = method == "post" and "/webhooks/" not in path
            assert ("Idempotency-Key" in names) is expected, (method, path)
    assert len(urls.urlpatterns) > 40


def test_a_change_that_fails_after_its_key_was_taken_leaves_no_key(admin: ApiClient) -> None:
    def broken() -> repeats.Answer:
        raise RuntimeError("no")

    for whole in (True, False):
        request = repeats.Once(tenant_id=1, what="POST /x", key="k", asked=b"", whole=whole)
        with pytest.raises(RuntimeError):
            repeats.once(request, broken)
        with transaction.atomic():
            assert postgres.query("SELECT count(*) FROM idempotency") == [(0,)]
