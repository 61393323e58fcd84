"""A small job API of nobody in particular, for the declarative adapter: `/jobs`, `/jobs/{id}`, `/jobs?ids=`."""

from dataclasses import dataclass, field
from typing import Any

from taskcenter.demo.faults import KINDS, broken
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer

OPTIONS: dict[str, Any] = {
    "submit": {"url": "/jobs", "reference_field": "ref", "webhook_field": "notify"},
    "poll": {"url": "/jobs/{id}"},
    "batch": {"url": "/jobs?ids={ids}", "items": "jobs"},
    "lookup": {"url": "/jobs?ref={reference}", "items": "jobs"},
    "cancel": {"url": "/jobs/{id}", "method": "DELETE"},
    "paths": {
        "id": "job.no",
        "status": "job.state",
        "result": "job.files.0",
        "error": "job.why",
        "progress": "job.done",
    },
    "statuses": {
        "waiting": "QUEUED",
        "busy": "IN_PROGRESS",
        "ok": "SUCCESS",
        "bad": "FAILURE",
        "off": "CANCELLED",
    },
    "auth_header": "X-Api-Key",
    "auth_template": "{credential}",
}


@dataclass(kw_only=True)
class GenericStub:
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, request: StubRequest) -> Reply:
        if request.headers.get("x-api-key") != "tok":
            return Reply(status=401, body={"message": "who are you?"})
        parts = request.path.strip("/").split("/")
        if request.method == "POST":
            return self._create(request.json(), request.headers.get("idempotency-key"))
        if len(parts) == 1:
            return Reply(body={"jobs": self._find(request.query)})
        job = self.jobs.get(parts[1])
        if job is None:
            return Reply(status=404, body={"message": "no such job"})
        if request.method == "DELETE":
            job["job"]["state"] = "off"
        state = job["job"]["state"]
        return broken(state, job | {"status": "busy"}, 1) if state in KINDS else Reply(body=job)

    def _create(self, body: dict[str, Any], key: str | None) -> Reply:
        number = str(len(self.jobs) + 1)
        state = body.get("state", "waiting")
        files, why = ["f.bin"], "too hard"
        self.jobs[number] = {
            "ref": body.get("ref"),
            "key": key,
            "job": {"no": int(number), "state": state, "files": files, "why": why, "done": 40.5},
        }
        return Reply(drop=True) if body.get("drop") else Reply(status=202, body=self.jobs[number])

    def _find(self, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted = query.get("ids", "").split(",")
        return [
            job
            for no, job in self.jobs.items()
            if no in wanted or job["ref"] == query.get("ref", "-")
        ]


def serve() -> tuple[StubServer, GenericStub]:
    stub = GenericStub()
    return StubServer(stub), stub
