"""A caller of the REST API with a key of its own, in the test's process."""

from dataclasses import dataclass
from typing import Any

import msgspec
from django.test import Client

from jobs.operations import keys, tickets
from jobs.selectors import figures, secrets
from jobs.store import catalog
from queues_admin.api import auth, guessing, throttle

Response = Any  # the test client's, with `.json()`


@dataclass
class ApiClient:
    """Paths are below /api/v1. `body`: JSON value, or bytes sent as they are. No Accept-Language unless given."""

    key: str
    client: Client

    def get(self, path: str, **headers: str) -> Response:
        return self.call("GET", path, None, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Response:
        return self.call("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Response:
        return self.call("DELETE", path, None, **headers)

    def call(self, method: str, path: str, body: Any, **headers: str) -> Response:
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        return self.client.generic(
            method, f"/api/v1{path}", raw, content_type="application/json", headers=sent
        )


def client(*scopes: str, name: str = "test") -> ApiClient:
    """A client with a fresh key of these scopes (none: no key at all)."""
    key = keys.create(name=name, scopes=list(scopes)).key if scopes else ""
    return ApiClient(key=key, client=Client(raise_request_exception=False))


def data(response: Response, status: int = 200) -> Any:
    """The answer's `data`; fails with the whole answer when its status is another."""
    body = msgspec.json.decode(response.content)
    assert response.status_code == status, body
    assert body["success"] is True
    return body["data"]


def error(response: Response, status: int) -> Any:
    """The answer's `error`, after checking its shape."""
    body = msgspec.json.decode(response.content)
    assert response.status_code == status, body
    assert body["success"] is False
    assert set(body) == {"success", "message", "error"}
    assert set(body["error"]) == {"code", "details", "request_id"}
    assert body["error"]["request_id"] == response.headers["X-Request-ID"]
    return body["error"]


def forget() -> None:
    """Everything that this process remembers of the database and Redis."""
    for module in (catalog, tickets, auth, guessing, throttle, figures, secrets):
        module.forget()
