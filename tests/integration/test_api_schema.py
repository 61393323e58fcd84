"""The OpenAPI document: complete, true, and browsable."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from jobs.domain import errors as domain_errors
from jobs.domain.errors import TaskCenterError
from queues_admin.api import errors, openapi, urls

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "api.md"


def _document() -> dict[str, Any]:
    response = Client().get("/api/v1/schema")
    assert response.status_code == 200
    return dict(response.json())


def _routes() -> set[tuple[str, str]]:
    """(METHOD, path) of every endpoint that the router knows."""
    found = set()
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "cls", None)
        if view is None:
            continue
        path = re.sub(r"<str:(\w+)>", r"{\1}", f"/api/v1/{pattern.pattern}")
        found |= {(m.upper(), path) for m in ("get", "post", "patch", "delete") if hasattr(view, m)}
    return found


def _all_errors() -> set[type[TaskCenterError]]:
    """Those that the API can meet: the domain's and its own (handlers and adapters keep theirs)."""
    every = _with_subclasses(TaskCenterError)
    return {cls for cls in every if cls.__module__.startswith(("jobs.domain", "queues_admin.api"))}


def _with_subclasses(cls: type[TaskCenterError]) -> set[type[TaskCenterError]]:
    return {cls}.union(*(_with_subclasses(sub) for sub in cls.__subclasses__()))


@pytest.mark.req("A-04")
def test_the_document_has_every_route_and_no_other() -> None:
    document = _document()
    assert document["openapi"].startswith("3.1")
    described = {(m.upper(), path) for path, item in document["paths"].items() for m in item}
    assert described == _routes()
    operations = [o for item in document["paths"].values() for o in item.values()]
    names = [o["operationId"] for o in operations]
    assert len(names) == len(set(names))


@pytest.mark.req("A-04")
def test_every_reference_in_the_document_leads_somewhere() -> None:
    document = _document()
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', openapi.encoded().decode()))
    assert wanted <= set(document["components"]["schemas"])
    assert wanted


@pytest.mark.req("A-04", "V-14", "S09")
def test_the_docs_page_lists_every_operation_without_script_or_inline_style() -> None:
    response = Client().get("/api/v1/docs")
    text = response.content.decode()
    for method, path in _routes():
        assert f"{method}</span> <code>{path}</code>" in text
    assert "<script" not in text
    assert "style=" not in text
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.req("A-03")
def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    every = _all_errors()
    codes = [cls.code for cls in every]
    assert len(codes) == len(set(codes))
    assert {errors.status_of(cls) for cls in every} <= {
        400,
        401,
        402,
        403,
        404,
        405,
        409,
        413,
        422,
        429,
        500,
        503,
    }
    assert errors.status_of(domain_errors.UnknownQueue) == 422


@pytest.mark.req("A-03", "A-04")
def test_the_api_page_names_every_error_and_endpoint() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = {
        (int(status), code)
        for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", text, flags=re.MULTILINE)
    }
    assert table == {(errors.status_of(cls), cls.code) for cls in _all_errors()}
    shown = set(
        re.findall(r"^### `(GET|POST|PATCH|DELETE) (/api/v1/[^`]*)`", text, flags=re.MULTILINE)
    )
    assert shown == _routes()


@pytest.mark.req("A-04")
def test_every_endpoint_of_the_api_page_has_a_curl_line() -> None:
    for section in DOCS.read_text(encoding="utf-8").split("\n### ")[1:]:
        assert "curl" in section, section.splitlines()[0]
