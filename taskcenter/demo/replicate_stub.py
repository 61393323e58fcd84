"""A stub of Replicate's predictions API that keeps to the protocol: `python -m taskcenter.demo.replicate_stub`.

A prediction's fate is in its `input`: `seconds` (3), `outcome` (succeeded | failed | canceled), `output`,
`flap` (some polls are answered 503 or 429), `never_ends`, `webhook_twice`, `malformed` (see `faults.py`) with
`malformed_polls` (all), and `on_create` (drop | hang | html | 204 | 429 | 503 | 500 | 422): what the POST
answers; with drop, hang, html, 204 and 500 the prediction exists all the same.
"""

import argparse
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from taskcenter.demo.faults import broken
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer
from taskcenter.demo.stub_webhooks import WebhookSender

ENDED = ("succeeded", "failed", "canceled")
_CREATED_ANYWAY = ("drop", "hang", "html", "204", "500")
_FORGET_S = 3600.0


@dataclass(kw_only=True)
class Prediction:
    id: str
    version: str
    input: dict[str, Any]
    created_s: float
    webhook: str | None = None
    canceled_s: float | None = None
    polls: int = 0

    @property
    def seconds(self) -> float:
        return float(self.input.get("seconds", 3))

    def status(self, now_s: float) -> str:
        if self.canceled_s is not None:
            return "canceled"
        age_s = now_s - self.created_s
        if self.input.get("never_ends") or age_s < self.seconds:
            return "starting" if age_s < min(1.0, self.seconds / 4) else "processing"
        return str(self.input.get("outcome", "succeeded"))

    def ended_s(self, now_s: float) -> float | None:
        ended = self.status(now_s) in ENDED
        return (self.canceled_s or self.created_s + self.seconds) if ended else None

    def wire(self, base_url: str, now_s: float) -> dict[str, Any]:
        """The prediction as the API shows it."""
        status, ended_s = self.status(now_s), self.ended_s(now_s)
        done = min(1.0, (now_s - self.created_s) / max(self.seconds, 0.001))
        removed = ended_s is not None and now_s - ended_s > _FORGET_S
        output = self.input.get("output", ["https://replicate.delivery/stub/out-0.png"])
        return {
            "id": self.id,
            "model": "stub/model",
            "version": self.version,
            "input": {} if removed else self.input,
            "logs": ""
            if status == "starting"
            else f"{int(done * 100):3d}%|###| {int(done * 50)}/50",
            "output": output if status == "succeeded" and not removed else None,
            "data_removed": removed,
            "error": "The stub was told to fail" if status == "failed" else None,
            "status": status,
            "created_at": _iso(self.created_s),
            "started_at": None if status == "starting" else _iso(self.created_s),
            "completed_at": None if ended_s is None else _iso(ended_s),
            "metrics": {"predict_time": self.seconds} if status == "succeeded" else {},
            "urls": {
                "get": f"{base_url}/v1/predictions/{self.id}",
                "cancel": f"{base_url}/v1/predictions/{self.id}/cancel",
            },
        }


@dataclass(kw_only=True)
class ReplicateStub:
    """The API over a dictionary of predictions. `down` makes everything answer 503."""

    token: str
    webhook_secret: str = ""
    base_url: str = ""
    down: bool = False
    predictions: dict[str, Prediction] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    sender: WebhookSender = field(default_factory=WebhookSender)

    def __call__(self, request: StubRequest) -> Reply:
        if self.down:
            return Reply(status=503, body={"detail": "down"}, headers={"Retry-After": "1"})
        if request.headers.get("authorization") not in (
            f"Bearer {self.token}",
            f"Token {self.token}",
        ):
            return _error(401, "Unauthenticated", "You did not pass a valid authentication token")
        parts = request.path.strip("/").split("/")
        if parts[:2] != ["v1", "predictions"]:
            return _error(404, "Not found", "The requested resource could not be found")
        match request.method, parts[2:]:
            case "POST", []:
                return self._create(request)
            case "GET", []:
                return self._list(request.at)
            case "GET", [id_]:
                return self._get(id_, request.at)
            case "POST", [id_, "cancel"]:
                return self._cancel(id_, request.at)
        return _error(405, "Method not allowed", request.method)

    def _create(self, request: StubRequest) -> Reply:
        body = request.json()
        if not isinstance(body, dict) or not isinstance(body.get("version"), str):
            return _error(422, "Input validation failed", "- version: is required")
        given = body.get("input")
        if not isinstance(given, dict):
            return _error(422, "Input validation failed", "- input: is required")
        on_create = str(given.get("on_create", ""))
        if on_create in ("", *_CREATED_ANYWAY):
            prediction = self._add(body, given, request.at)
            if not on_create:
                return Reply(status=201, body=prediction.wire(self.base_url, request.at))
        return _odd_create(on_create)

    def _add(self, body: dict[str, Any], given: dict[str, Any], now_s: float) -> Prediction:
        webhook = body.get("webhook")
        prediction = Prediction(
            id=secrets.token_hex(13),
            version=body["version"],
            input=given,
            created_s=now_s,
            webhook=webhook if isinstance(webhook, str) else None,
        )
        with self.lock:
            for old in [
                p for p in self.predictions.values() if now_s - p.created_s > 2 * _FORGET_S
            ]:
                del self.predictions[old.id]
            self.predictions[prediction.id] = prediction
        if prediction.webhook and not given.get("never_ends"):
            self._notify(prediction, now_s + prediction.seconds + 0.01)
        return prediction

    def _notify(self, prediction: Prediction, at_s: float) -> None:
        url, secret = prediction.webhook or "", self.webhook_secret
        for _ in range(2 if prediction.input.get("webhook_twice") else 1):
            self.sender.later(
                at_s, url, secret, lambda: prediction.wire(self.base_url, time.time())
            )

    def _list(self, now_s: float) -> Reply:
        with self.lock:
            newest = list(self.predictions.values())[-100:][::-1]
        results = [p.wire(self.base_url, now_s) for p in newest]
        return Reply(body={"previous": None, "next": None, "results": results})

    def _get(self, id_: str, now_s: float) -> Reply:
        prediction = self.predictions.get(id_)
        if prediction is None:
            return _error(404, "Not found", "The requested resource could not be found")
        prediction.polls += 1
        polls, given = prediction.polls, prediction.input
        if given.get("flap") and polls % 4 in (2, 3):
            code = 503 if polls % 4 == 2 else 429
            return Reply(status=code, body={"detail": "flapping"}, headers={"Retry-After": "1"})
        shown = prediction.wire(self.base_url, now_s)
        kind = given.get("malformed")
        if kind and polls <= int(given.get("malformed_polls", 1 << 30)):
            return broken(str(kind), shown, polls)
        return Reply(body=shown)

    def _cancel(self, id_: str, now_s: float) -> Reply:
        prediction = self.predictions.get(id_)
        if prediction is None:
            return _error(404, "Not found", "The requested resource could not be found")
        if prediction.status(now_s) not in ENDED:
            prediction.canceled_s = now_s
            if prediction.webhook:
                self._notify(prediction, now_s)
        return Reply(body=prediction.wire(self.base_url, now_s))


def _odd_create(kind: str) -> Reply:
    if kind == "drop":
        return Reply(drop=True)
    if kind == "hang":
        return Reply(delay_s=120.0, drop=True)
    if kind == "html":
        return Reply(status=200, body=b"<html>proxy</html>", content_type="text/html")
    code = int(kind)
    later = {"Retry-After": "1"} if code in (429, 503) else {}
    return Reply(status=code, body={"detail": "as the input asked"}, headers=later)


def _error(status: int, title: str, detail: str) -> Reply:
    return Reply(status=status, body={"title": title, "detail": detail, "status": status})


def _iso(unix_s: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))
    return f"{whole}.{int(unix_s % 1 * 1e6):06d}Z"


def serve(
    *, token: str, webhook_secret: str = "", port: int = 0
) -> tuple[StubServer, ReplicateStub]:
    """A server that isn't started yet, and the stub behind it."""
    stub = ReplicateStub(token=token, webhook_secret=webhook_secret)
    server = StubServer(stub, port=port)
    stub.base_url = server.base_url
    return server, stub


def main() -> None:
    parser = argparse.ArgumentParser(description="A stub of Replicate's predictions API")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--token", required=True)
    parser.add_argument("--webhook-secret", default="")
    given = parser.parse_args()
    server, _ = serve(token=given.token, webhook_secret=given.webhook_secret, port=given.port)
    print(f"Replicate stub on {server.base_url}", flush=True)
    try:
        server.serve()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
