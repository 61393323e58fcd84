"""`GET /schema`: the OpenAPI document; `GET /docs`: the same to read. Both are open: they hold no data."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from queues_admin.api import openapi


@require_safe
def schema(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(openapi.encoded(), content_type="application/json")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """A plain page made from the document: no script, no style but our own file."""
    document = openapi.document()
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            row = {
                "path": path,
                "method": method.upper(),
                **operation,
                "answers": _answers(operation),
            }
            groups.setdefault(operation["tags"][0], []).append(row)
    return render(request, "api/docs.html", {"groups": groups, "info": document["info"]})


def _answers(operation: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (status, answer["description"]) for status, answer in sorted(operation["responses"].items())
    ]
