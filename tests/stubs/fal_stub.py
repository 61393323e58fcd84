"""A stub of fal's queue. `arguments`: `seconds`, `error_type`, `app_status` (the result's HTTP status), `malformed`."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from taskcenter.demo.faults import broken
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer


@dataclass(kw_only=True)
class FalRequest:
    id: str
    app: str
    arguments: dict[str, Any]
    created_s: float
    cancelled: bool = False
    polls: int = 0

    def status(self, now_s: float) -> str:
        age_s, seconds = now_s - self.created_s, float(self.arguments.get("seconds", 0))
        if self.cancelled or age_s >= seconds:
            return "COMPLETED"
        return "IN_QUEUE" if age_s < seconds / 2 else "IN_PROGRESS"


@dataclass(kw_only=True)
class FalStub:
    key: str = "tok"
    base_url: str = ""
    requests: dict[str, FalRequest] = field(default_factory=dict)
    signing_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __call__(self, request: StubRequest) -> Reply:
        parts = request.path.strip("/").split("/")
        if parts == [".well-known", "jwks.json"]:
            return Reply(body=self.jwks())
        if request.headers.get("authorization") != f"Key {self.key}":
            return Reply(status=401, body={"detail": "No user found for Key ID and Secret"})
        if request.method == "POST":
            return self._submit("/".join(parts[:2]), request)
        known = self.requests.get(parts[3]) if len(parts) > 3 else None
        if known is None or known.app != "/".join(parts[:2]):
            return Reply(status=404, body={"detail": "NOT_FOUND", "status": "NOT_FOUND"})
        if request.method == "PUT":
            return self._cancel(known, request.at)
        return (
            self._status(known, request.at)
            if parts[4:] == ["status"]
            else self._result(known, request.at)
        )

    def _submit(self, app: str, request: StubRequest) -> Reply:
        arguments = request.json()
        if not isinstance(arguments, dict):
            return Reply(
                status=422, body={"detail": [{"msg": "not an object", "type": "value_error"}]}
            )
        known = FalRequest(
            id=secrets.token_hex(8), app=app, arguments=arguments, created_s=request.at
        )
        self.requests[known.id] = known
        return Reply(body={"status": "IN_QUEUE", "queue_position": 0, **self._urls(known)})

    def _urls(self, known: FalRequest) -> dict[str, str]:
        url = f"{self.base_url}/{known.app}/requests/{known.id}"
        return {
            "request_id": known.id,
            "response_url": url,
            "status_url": f"{url}/status",
            "cancel_url": f"{url}/cancel",
        }

    def _status(self, known: FalRequest, now_s: float) -> Reply:
        known.polls += 1
        status = known.status(now_s)
        body: dict[str, Any] = {"status": status, "logs": None, **self._urls(known)}
        if status == "IN_QUEUE":
            body["queue_position"] = 0
        error_type = "client_cancelled" if known.cancelled else known.arguments.get("error_type")
        if status == "COMPLETED":
            body["metrics"] = {"inference_time": 0.1}
            if error_type:
                body |= {"error": f"it ended by {error_type}", "error_type": error_type}
        if kind := known.arguments.get("malformed"):
            return broken(str(kind), body | {"id": known.id}, known.polls)
        return Reply(status=200 if status == "COMPLETED" else 202, body=body)

    def _result(self, known: FalRequest, now_s: float) -> Reply:
        if known.status(now_s) != "COMPLETED":
            return Reply(status=400, body={"detail": "Request is still in progress"})
        code = int(known.arguments.get("app_status", 200))
        if code == 422:
            detail = [
                {"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}
            ]
            return Reply(status=422, body={"detail": detail})
        if code != 200:
            return Reply(
                status=code,
                body={"detail": "the runner broke", "error_type": "runner_server_error"},
                headers={"X-Fal-Error-Type": "runner_server_error"},
            )
        return Reply(body={"images": [{"url": "https://fal.media/1.png"}]})

    def _cancel(self, known: FalRequest, now_s: float) -> Reply:
        if known.status(now_s) == "COMPLETED":
            return Reply(status=400, body={"status": "ALREADY_COMPLETED"})
        known.cancelled = True
        return Reply(status=202, body={"status": "CANCELLATION_REQUESTED"})

    def jwks(self) -> dict[str, Any]:
        raw = self.signing_key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1"}]}

    def signed(self, request_id: str, body: bytes, timestamp_s: int) -> dict[str, str]:
        """The headers of a webhook."""
        parts = [request_id, "user", str(timestamp_s), hashlib.sha256(body).hexdigest()]
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": "user",
            "X-Fal-Webhook-Timestamp": str(timestamp_s),
            "X-Fal-Webhook-Signature": self.signing_key.sign("\n".join(parts).encode()).hex(),
        }


def serve() -> tuple[StubServer, FalStub]:
    stub = FalStub()
    server = StubServer(stub)
    stub.base_url = server.base_url
    return server, stub
