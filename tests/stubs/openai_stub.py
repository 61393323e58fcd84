"""A stub of OpenAI's files and batches. A batch's fate is in its metadata: `status`, `malformed`, `on_create`."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from taskcenter.demo.faults import broken
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer


@dataclass(kw_only=True)
class OpenAIStub:
    key: str = "tok"
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, request: StubRequest) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided")
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["files"]:
                return self._upload(request)
            case "POST", ["batches"]:
                return self._create(request)
            case "GET", ["batches"]:
                return self._list(request)
            case "GET", ["batches", id_]:
                return self._get(id_)
            case "POST", ["batches", id_, "cancel"]:
                return self._cancel(id_)
        return _error(404, "Invalid URL")

    def _upload(self, request: StubRequest) -> Reply:
        if b'name="purpose"\r\n\r\nbatch' not in request.body:
            return _error(400, "purpose is required")
        lines = request.body.split(b"\r\n\r\n")[-1] if b"filename" in request.body else b""
        id_ = "file-" + secrets.token_hex(8)
        self.files[id_] = request.body
        return Reply(
            body={
                "id": id_,
                "object": "file",
                "bytes": len(lines),
                "created_at": int(request.at),
                "filename": "batch.jsonl",
                "purpose": "batch",
                "status": "processed",
            }
        )

    def _create(self, request: StubRequest) -> Reply:
        body = request.json()
        if body.get("input_file_id") not in self.files or body.get("completion_window") != "24h":
            return _error(400, "input_file_id does not exist")
        metadata = body.get("metadata") or {}
        batch = {
            "id": "batch_" + secrets.token_hex(8),
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "created_at": int(request.at),
            "metadata": metadata,
            "request_counts": {"total": 4, "completed": 1, "failed": 1},
        }
        self.batches[str(batch["id"])] = batch
        on_create = metadata.get("on_create")
        return Reply(drop=True) if on_create == "drop" else Reply(body=batch)

    def _list(self, request: StubRequest) -> Reply:
        newest = list(self.batches.values())[::-1]
        ids = [batch["id"] for batch in newest]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = newest[start : start + 2]
        more = start + 2 < len(newest)
        return Reply(
            body={
                "object": "list",
                "data": page,
                "has_more": more,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
            }
        )

    def _get(self, id_: str) -> Reply:
        batch = self.batches.get(id_)
        if batch is None:
            return _error(404, f"No batch found with id '{id_}'.")
        word = batch["metadata"].get("status", batch["status"])
        shown = batch | {"status": word}
        if word in ("completed", "cancelled", "expired"):
            shown["output_file_id"] = "file-out"
        if word == "failed":
            shown["errors"] = {
                "object": "list",
                "data": [{"code": "x", "message": "line 1 is not JSON"}],
            }
        kind = batch["metadata"].get("malformed")
        return broken(kind, shown, 1) if kind else Reply(body=shown)

    def _cancel(self, id_: str) -> Reply:
        batch = self.batches.get(id_)
        if batch is None:
            return _error(404, f"No batch found with id '{id_}'.")
        if batch["metadata"].get("status") == "completed":
            return _error(409, "Cannot cancel a batch with status 'completed'.")
        batch["status"] = "cancelling"
        return Reply(body=batch)


def _error(status: int, message: str) -> Reply:
    return Reply(
        status=status,
        body={"error": {"message": message, "type": "invalid_request_error", "code": None}},
    )


def serve() -> tuple[StubServer, OpenAIStub]:
    stub = OpenAIStub()
    return StubServer(stub), stub
