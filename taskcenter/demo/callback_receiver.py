"""The other end of `http:callback`: checks the signature, remembers what it saw, is sometimes busy.

`/ok` takes everything, `/flaky` answers 503 to the first try of each message, `/gone` answers 410.
"""

import hmac
import json
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler

import structlog

from jobs.builtin import signatures
from taskcenter.demo import ports
from taskcenter.demo.stub_http import Listener

log = structlog.get_logger("demo.callbacks")

MAX_BYTES = 1_000_000
_REMEMBERED = 2_000
_TOLERANCE_S = 300


class Receiver(Listener):
    """`received` counts deliveries by webhook-id, bounded."""

    def __init__(self, port: int | None = None) -> None:
        self.received: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        super().__init__((ports.HOST, ports.port("CALLBACK") if port is None else port), _Handler)

    def note(self, message_id: str) -> int:
        """Count one delivery; returns which one of this message it is, from 1."""
        with self._lock:
            self.received[message_id] = self.received.get(message_id, 0) + 1
            while len(self.received) > _REMEMBERED:
                self.received.popitem(last=False)
            return self.received[message_id]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BYTES:
            self.close_connection = True
            return self._answer(413, {"error": "too large"})
        body = self.rfile.read(int(length))
        if not self._signed(body):
            return self._answer(401, {"error": "wrong signature"})
        delivery = self.server.note(self.headers["webhook-id"])
        path = self.path.partition("?")[0]
        if path == "/gone":
            return self._answer(410, {"error": "nobody lives here"})
        if path == "/flaky" and delivery == 1:
            return self._answer(503, {"error": "busy, try again"})
        return self._answer(200, {"received": True, "delivery": delivery})

    def _signed(self, body: bytes) -> bool:
        message_id = self.headers.get("webhook-id", "")
        stamp = self.headers.get("webhook-timestamp", "")
        if not message_id or not stamp.isdecimal() or abs(time.time() - int(stamp)) > _TOLERANCE_S:
            return False
        expected = signatures.signature(signatures.secret(), message_id, int(stamp), body)
        return hmac.compare_digest(expected, self.headers.get("webhook-signature", ""))

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("callback", line=format % args)
