"""`POST /webhooks/{platform}`: what external platforms tell us; the platform's signature stands in for a key."""

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema

from jobs.domain.errors import NotFound, TooLarge
from jobs.operations import hints
from queues_admin.api import envelope, errors, openapi, parsing
from queues_admin.api.endpoint import Api, Call, Endpoint
from queues_admin.api.envelope import Reply


class WebhookTaken(msgspec.Struct, frozen=True, kw_only=True):
    """`due_now`: the task is polled at once. `duplicate`: this delivery was seen before and changed nothing."""

    task_id: str
    due_now: bool
    duplicate: bool


def _described(api: Api, call: Call, platform: str) -> None:
    """The signature that the document shows."""


_described.__qualname__, _described.__module__ = "Webhook.post", __name__
_SPEC = Endpoint(
    summary="A platform's webhook",
    scope="",
    data=WebhookTaken,
    raises=(NotFound, TooLarge),
)
_DOCUMENT: dict[str, Any] = {
    **openapi.operation(_SPEC, _described),
    "description": "Called by the platform and signed by it; needs no key. Replayed and unsigned ones get 401.",
    "security": [],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}


class Webhook(Api):
    @extend_schema(operation=_DOCUMENT)
    def post(self, request: HttpRequest, platform: str) -> HttpResponse:
        """Passes in read-only mode too: what happened over there has happened."""
        try:
            body = parsing.raw_body(request, 2 * parsing.MIB)
            reference = request.GET.get("task", "")[:200]
            taken = hints.receive(platform, dict(request.headers), body, reference)
            data = WebhookTaken(
                task_id=taken.task_id, due_now=taken.due_now, duplicate=taken.duplicate
            )
            return envelope.success(Reply(data=data))
        except Exception as error:
            return errors.respond(request, error)
