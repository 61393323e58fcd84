"""A client that submits charged tasks and remembers what it was told."""

from collections import Counter
from typing import Any

import httpx

from tests.support.load import USERS


class Caller:
    """`hasty`: refusals that don't say when to come back; `deferred`: accepted without a ticket."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=20)
        self.codes: Counter[int] = Counter()
        self.ids: list[str] = []
        self.hasty = 0
        self.deferred = 0

    def post(self, payload: Any = None) -> int:
        """The status code of one more submit."""
        body = {"type": "debug:echo", "payload": payload, "credits": 3, "user_id": USERS[0]}
        answer = self._client.post("/api/v1/tasks", json=body)
        self.codes[answer.status_code] += 1
        if answer.status_code == 201:
            self.ids.append(answer.json()["data"]["task_id"])
            self.deferred += answer.json()["data"]["deferred"] is True
        else:
            self.hasty += int(answer.headers.get("Retry-After", "0")) < 1
        return answer.status_code
