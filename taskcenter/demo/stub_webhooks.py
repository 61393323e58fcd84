"""Sends a stub platform's webhooks at their time, signed by Standard Webhooks, tried three times."""

import base64
import hashlib
import heapq
import hmac
import itertools
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

_TRIES = 3


class WebhookSender:
    """One daemon thread for all of them, begun with the first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], bool], int]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._running = False

    def later(self, at_s: float, url: str, secret: str, body: Callable[[], Any]) -> None:
        """Send what `body` gives at unix time `at_s`."""
        message_id = "msg_" + secrets.token_hex(12)
        self._push(at_s, lambda: _post(url, secret, message_id, json.dumps(body()).encode()), 1)

    def _push(self, at_s: float, send: Callable[[], bool], tries: int) -> None:
        with self._changed:
            heapq.heappush(self._due, (at_s, next(self._order), send, tries))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, daemon=True).start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            at_s, send, tries = self._next()
            if not send() and tries < _TRIES:
                self._push(at_s + 2.0**tries, send, tries + 1)

    def _next(self) -> tuple[float, Callable[[], bool], int]:
        with self._changed:
            while not self._due or self._due[0][0] > time.time():
                self._changed.wait(self._due[0][0] - time.time() if self._due else None)
            at_s, _, send, tries = heapq.heappop(self._due)
            return at_s, send, tries


def standard_headers(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, signed now."""
    timestamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret else b""
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def _post(url: str, secret: str, message_id: str, body: bytes) -> bool:
    headers = {"Content-Type": "application/json", **standard_headers(secret, message_id, body)}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return 200 <= int(answer.status) < 300
    except (urllib.error.URLError, OSError):
        return False
