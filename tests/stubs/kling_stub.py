"""A stub of Kling's videos. The prompt is the fate: a status word, `lost` (no answer to the POST) or a fault."""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from taskcenter.demo.faults import KINDS, broken
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer


@dataclass(kw_only=True)
class KlingStub:
    access_key: str = "ak"
    secret_key: str = "sk"
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, request: StubRequest) -> Reply:
        if not self._known(request):
            return _envelope(401, 1000, "Authentication failed")
        parts = request.path.strip("/").split("/")
        if (
            parts[:2] != ["v1", "videos"]
            or len(parts) < 3
            or parts[2] not in ("text2video", "image2video")
        ):
            return _envelope(404, 1200, "no such path")
        if request.method == "POST":
            return self._create(parts[2], request)
        return self._get(parts[2], parts[3])

    def _known(self, request: StubRequest) -> bool:
        head, claims, signature = (
            request.headers.get("authorization", "").removeprefix("Bearer ").split(".")
        )
        digest = hmac.new(
            self.secret_key.encode(), f"{head}.{claims}".encode(), hashlib.sha256
        ).digest()
        read = json.loads(_unb64(claims))
        fresh = read["nbf"] <= request.at < read["exp"] <= request.at + 1801
        algorithm = json.loads(_unb64(head))["alg"]
        return (
            _unb64(signature) == digest
            and fresh
            and read["iss"] == self.access_key
            and algorithm == "HS256"
        )

    def _create(self, kind: str, request: StubRequest) -> Reply:
        body = request.json()
        prompt = body.get("prompt", "")
        codes = {
            "busy": (429, 1303),
            "poor": (429, 1102),
            "bad": (400, 1201),
            "broken": (500, 5000),
        }
        if prompt in codes:
            return _envelope(*codes[prompt], "as the prompt asked")
        if any(
            t["task_info"]["external_task_id"] == body["external_task_id"]
            for t in self.tasks.values()
        ):
            return _envelope(400, 1201, "external_task_id is in use")
        now_ms = int(request.at * 1000)
        task = {
            "task_id": secrets.token_hex(9),
            "task_status": "submitted",
            "task_info": {"external_task_id": body["external_task_id"]},
            "created_at": now_ms,
            "updated_at": now_ms,
            "kind": kind,
            "prompt": prompt,
        }
        self.tasks[str(task["task_id"])] = task
        return Reply(drop=True) if prompt == "lost" else _envelope(200, 0, "SUCCEED", task)

    def _get(self, kind: str, id_: str) -> Reply:
        named = [
            t
            for t in self.tasks.values()
            if id_ in (t["task_id"], t["task_info"]["external_task_id"])
        ]
        if not named or named[0]["kind"] != kind:
            return _envelope(404, 1203, "task not found")
        task, prompt = dict(named[0]), named[0]["prompt"]
        if prompt in KINDS:
            return broken(prompt, {"code": 0, "data": task}, 1)
        if prompt not in ("", "lost"):
            task["task_status"] = prompt
        if prompt == "failed":
            task["task_status_msg"] = "the prompt violates the rules"
        if prompt == "succeed":
            task["task_result"] = {
                "videos": [{"id": "v1", "url": "https://kling.example/v1.mp4", "duration": "5"}]
            }
        return _envelope(200, 0, "SUCCEED", task)


def _envelope(status: int, code: int, message: str, data: Any = None) -> Reply:
    return Reply(
        status=status, body={"code": code, "message": message, "request_id": "r", "data": data}
    )


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def serve() -> tuple[StubServer, KlingStub]:
    stub = KlingStub()
    return StubServer(stub), stub
