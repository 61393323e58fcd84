"""Log lines carry their context and no secrets; requests carry ids (M-04, M-05, T-04)."""

import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils.log import log_response

from taskcenter import logs
from taskcenter.requests import RequestContextMiddleware

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def _json_lines() -> Iterator[None]:
    logging.config.dictConfig(logs.configure("json", "INFO"))  # on the stderr of this moment
    yield
    logging.config.dictConfig(settings.LOGGING)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.req("M-04")
def test_our_lines_and_the_librarys_are_json_with_the_same_context(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _json_lines(), logs.bind(task_id="task_1", attempt=2, queue="default"):
        structlog.get_logger("x").info("[Asynq] Task completed", duration_ms=3)
        logging.getLogger("y").warning("from %s", "elsewhere")
    ours, theirs = _lines(capsys)
    for line in (ours, theirs):
        assert (line["task_id"], line["attempt"], line["queue"]) == ("task_1", 2, "default")
    assert (ours["event"], ours["level"], ours["duration_ms"]) == (
        "[Asynq] Task completed",
        "info",
        3,
    )
    assert theirs["event"] == "from elsewhere"


@pytest.mark.req("M-04", "T-04")
def test_secrets_and_payloads_never_reach_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": "hidden-3", "Accept": "shown"}
    with _json_lines():
        structlog.get_logger("x").info(
            "called", payload={"card": "hidden-1"}, api_key="hidden-2", headers=headers
        )
        logging.getLogger("y").info("called", extra={"password": "hidden-4"})
    text = capsys.readouterr().err
    assert "hidden" not in text
    assert "shown" in text
    assert headers["Authorization"] == "hidden-3"
    assert not [record for record in caplog.records if "hidden" in str(record.msg)]


@pytest.mark.req("M-04", "T-04")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_refused_search_is_logged_without_what_was_searched_for(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    request = RequestFactory().get("/api/v1/tasks", {"payload.card": "hidden-1", "q": "hidden-2"})
    logging.config.dictConfig(logs.configure(log_format, "INFO"))
    log_response(
        "%s: %s", "Bad Request", request.path, request=request, response=HttpResponse(status=400)
    )
    logging.config.dictConfig(settings.LOGGING)
    text = capsys.readouterr().err
    assert "hidden" not in text
    assert "GET /api/v1/tasks?payload.card=********&q=********" in text


@pytest.mark.req("M-04", "M-05")
def test_a_request_keeps_the_callers_ids_and_logs_them() -> None:
    seen: dict[str, object] = {}

    def view(request: HttpRequest) -> HttpResponse:
        seen.update(structlog.contextvars.get_contextvars())
        return HttpResponse("ok")

    request = RequestFactory().get(
        "/", headers={"X-Request-ID": "abc-1", "traceparent": TRACEPARENT}
    )
    response = RequestContextMiddleware(view)(request)
    assert response["X-Request-ID"] == "abc-1"
    assert seen == {"request_id": "abc-1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.req("M-05")
@pytest.mark.parametrize(
    ("request_id", "traceparent"),
    [("", ""), ("a\nb", "00-xyz"), ("x" * 129, "00-" + "0" * 32 + "-00f067aa0ba902b7-01")],
)
def test_ids_that_are_none_are_replaced(request_id: str, traceparent: str) -> None:
    request = RequestFactory().get(
        "/", headers={"X-Request-ID": request_id, "traceparent": traceparent}
    )
    response = RequestContextMiddleware(lambda _request: HttpResponse("ok"))(request)
    assert len(response["X-Request-ID"]) == 32
    assert len(request.trace_id) == 32  # type: ignore[attr-defined]
    assert request.traceparent.split("-")[1] == request.trace_id  # type: ignore[attr-defined]
