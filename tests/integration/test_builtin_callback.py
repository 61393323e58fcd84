"""`http:callback` against a real receiver."""

import asyncio
import gzip
import json
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pytest_django import Settings
from standardwebhooks.webhooks import Webhook

from jobs.builtin import http_callback, signatures
from jobs.builtin.http_callback import Callback, CallbackFailed
from jobs.domain.errors import Invalid
from jobs.domain.outcomes import Retry, SkipRetry
from jobs.handlers import Context
from jobs.operations.tasks import submit
from taskcenter.demo.callback_receiver import Receiver

SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"


class Recorder(HTTPServer):
    """Answers with what it is told and keeps the requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b'{"ok": true}')
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, body))
        status, more, content = self.server.answer
        self.send_response(status)
        for name, value in {**more, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST  # noqa: N815 - the base class' names

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def other_side() -> Iterator[Recorder]:
    server = Recorder()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _secrets(settings: Settings) -> None:
    settings.TASKCENTER = {
        **settings.TASKCENTER,
        "ALLOW_PRIVATE": True,
        "CALLBACK_SECRETS": {"shop": SECRET},
    }


def call(payload: Callback, **facts: Any) -> dict[str, Any]:
    context = Context(
        **{
            "task_id": "task_ABC",
            "type": "http:callback",
            "queue": "critical",
            "attempt": 1,
            "retried": 0,
            **facts,
        }
    )
    return asyncio.run(http_callback.deliver(payload, context))


@pytest.mark.req("S-08")
def test_a_callback_is_sent_as_asked_and_its_answer_is_the_result(other_side: Recorder) -> None:
    result = call(
        Callback(
            url=f"{other_side.url}/hook?a=1", method="PUT", body={"n": "字"}, headers={"X-Own": "1"}
        )
    )
    [(method, path, headers, body)] = other_side.seen
    assert (method, path, headers["x-own"]) == ("PUT", "/hook?a=1", "1")
    assert json.loads(body) == {"n": "字"}
    assert result == {"status": 200, "body": {"ok": True}}


@pytest.mark.req("T-05", "S14")
def test_a_receiver_verifies_with_the_standard_webhooks_library(other_side: Recorder) -> None:
    call(Callback(url=other_side.url, secret="shop", body={"order": 1}))
    [(_, _, headers, body)] = other_side.seen
    assert Webhook(SECRET).verify(body, headers) == {"order": 1}
    assert headers["x-taskcenter-signature"] == headers["webhook-signature"]
    assert headers["webhook-id"] == "task_ABC"


@pytest.mark.req("T-05")
def test_a_callback_without_a_named_secret_is_signed_too(other_side: Recorder) -> None:
    call(Callback(url=other_side.url, body=1))
    [(_, _, headers, body)] = other_side.seen
    assert Webhook(signatures.secret()).verify(body, headers) == 1


@pytest.mark.req("T-05")
def test_a_caller_cannot_set_the_headers_that_are_ours(other_side: Recorder) -> None:
    mine = {"Webhook-Signature": "v1,x", "Host": "bank", "Content-Length": "0", "traceparent": "x"}
    call(Callback(url=other_side.url, body=1, headers=mine))
    [(_, _, headers, body)] = other_side.seen
    assert headers["webhook-signature"] != "v1,x"
    assert headers["host"].startswith("127.0.0.1")
    assert body == b"1"


@pytest.mark.req("S-08", "A-03")
@pytest.mark.django_db
@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Connection", "TE", "Expect", "Webhook-Signature"]
)
def test_a_header_that_a_callback_could_not_send_as_it_is_said_is_refused_at_submit(
    name: str,
) -> None:
    url, mine = "https://shop.example/hook", {name: "x"}
    with pytest.raises(Invalid, match=f"'{name}' is set by the sender") as refused:
        submit("debug:noop", callback_url=url, headers=mine)
    assert refused.value.details["field"] == "headers"
    with pytest.raises(Invalid, match=f"'{name}' is set by the sender"):
        submit("http:callback", {"url": url, "headers": mine})
    submit("debug:noop", headers=mine)  # for its handler alone


@pytest.mark.req("M-05")
def test_the_trace_goes_on_at_the_receiver(other_side: Recorder) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    call(Callback(url=other_side.url), trace_id=trace_id)
    assert other_side.seen[0][2]["traceparent"].split("-")[1] == trace_id


@pytest.mark.req("S-08", "R-02")
@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_receiver_is_tried_again(other_side: Recorder, status: int) -> None:
    other_side.answer = (status, {}, b"later")
    with pytest.raises(CallbackFailed):
        call(Callback(url=other_side.url))


@pytest.mark.req("S-08", "R-02")
@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 410])
def test_a_refusal_or_redirect_is_final(other_side: Recorder, status: int) -> None:
    other_side.answer = (status, {"location": "/elsewhere"}, b"no")
    with pytest.raises(SkipRetry):
        call(Callback(url=other_side.url))
    assert len(other_side.seen) == 1


@pytest.mark.req("R-02")
def test_the_caller_says_which_statuses_are_tried_again(other_side: Recorder) -> None:
    other_side.answer = (404, {}, b"")
    with pytest.raises(CallbackFailed):
        call(Callback(url=other_side.url, retry_status=["4xx"]))
    other_side.answer = (503, {}, b"")
    with pytest.raises(SkipRetry):
        call(Callback(url=other_side.url, retry_status=[404]))


@pytest.mark.req("R-02")
def test_a_receiver_may_say_when(other_side: Recorder) -> None:
    other_side.answer = (429, {"retry-after": "17"}, b"")
    with pytest.raises(Retry) as later:
        call(Callback(url=other_side.url))
    assert later.value.after_s == 17


@pytest.mark.req("T-05")
def test_a_long_answer_is_cut(other_side: Recorder) -> None:
    other_side.answer = (200, {}, b"x" * 1_000_000)
    assert len(call(Callback(url=other_side.url))["body"]) == http_callback.MAX_ANSWER_BYTES


@pytest.mark.req("T-05")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://localhost/",
        "http://2130706433/",
        "http://user@example.com/",
        "file:///etc/passwd",
        "gopher://x/",
        "http://",
    ],
)
def test_a_private_or_odd_address_is_refused_for_good(settings: Settings, url: str) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "ALLOW_PRIVATE": False}
    with pytest.raises(SkipRetry):
        call(Callback(url=url))


@pytest.mark.req("S-08")
def test_nobody_there_is_tried_again(unused_tcp_port: int) -> None:
    with pytest.raises(CallbackFailed):
        call(Callback(url=f"http://127.0.0.1:{unused_tcp_port}/", timeout=2))


@pytest.fixture
def unused_tcp_port() -> int:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return server.server_port


@pytest.mark.req("S-08")
@pytest.mark.parametrize(
    "payload",
    [
        Callback(url="http://127.0.0.1/", secret="unknown"),
        Callback(url="http://127.0.0.1/", method="FETCH"),
        Callback(url="http://127.0.0.1/", headers={"a b": "c"}),
        Callback(url="http://127.0.0.1/", headers={"a": "c\r\nd: e"}),
    ],
)
def test_what_can_never_be_sent_is_not_tried_again(payload: Callback) -> None:
    with pytest.raises(SkipRetry):
        call(payload)


@pytest.mark.req("D-01")
def test_the_demo_receiver_takes_signed_callbacks_only() -> None:
    server = Receiver(port=0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert call(Callback(url=f"{url}/ok", body=1))["body"]["received"] is True
        with pytest.raises(SkipRetry):
            call(Callback(url=f"{url}/ok", body=1, secret="shop"))
        with pytest.raises(CallbackFailed):
            call(Callback(url=f"{url}/flaky", body=1), task_id="task_F")
        assert call(Callback(url=f"{url}/flaky", body=1), task_id="task_F")["status"] == 200
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.req("T-05", "C-05")
def test_nobody_but_the_ledger_signs_with_billings_secret(
    other_side: Recorder, settings: Settings
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "BILLING_SECRET": "shop"}
    forged = Callback(url=other_side.url, secret="shop", body={"event": "credit.entry"})
    with pytest.raises(SkipRetry):
        call(forged)
    assert other_side.seen == []
    context = Context(task_id="task_ABC", type="billing:deliver", queue="low", attempt=1, retried=0)
    asyncio.run(http_callback.deliver_entry(forged, context))
    [(_, _, headers, body)] = other_side.seen
    assert Webhook(SECRET).verify(body, headers) == {"event": "credit.entry"}


@pytest.mark.req("T-05")
def test_a_compressed_answer_is_never_unpacked(other_side: Recorder) -> None:
    bomb = gzip.compress(b"0" * 20_000_000)
    other_side.answer = (200, {"content-encoding": "gzip"}, bomb)
    tracemalloc.start()
    result = call(Callback(url=other_side.url, headers={"Accept-Encoding": "gzip"}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result == {"status": 200, "body": ""}
    assert peak < 5_000_000
    assert other_side.seen[0][2]["accept-encoding"] == "identity"
