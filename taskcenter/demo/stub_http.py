"""A small threaded HTTP server for stub platforms: loopback only, every request logged with its time.

`GET /_log` answers the log as JSON lines:
`{"at", "method", "path", "query", "body", "credential" (its last four characters), "reference", "status"}`.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True)
class StubRequest:
    """`headers` have lower-case names; `at` is unix seconds."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        """The body as JSON; None if it isn't."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`body`: bytes as they are, None for nothing, anything else as JSON. `drop` closes without an answer."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    delay_s: float = 0.0
    drop: bool = False

    def payload(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


App = Callable[[StubRequest], Reply]


class Listener(ThreadingHTTPServer):
    """Takes a burst: behind the usual five waiting connections the kernel resets those that follow."""

    daemon_threads = True
    request_queue_size = 1024


class StubServer:
    """Serves `app` from threads; a context manager. Port 0 takes a free one."""

    def __init__(self, app: App, *, port: int = 0) -> None:
        self._app = app
        self._log: deque[dict[str, Any]] = deque(maxlen=20_000)
        self._closing = threading.Event()
        self._server = Listener(("127.0.0.1", port), self._handler())
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def log(self, method: str | None = None, path: str = "/") -> list[dict[str, Any]]:
        """The requests so far, of one method and below a path."""
        entries = list(self._log)
        return [e for e in entries if method in (None, e["method"]) and e["path"].startswith(path)]

    def start(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def serve(self) -> None:
        """Serve in this thread until KeyboardInterrupt."""
        self._server.serve_forever(0.2)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def answer(self, request: StubRequest) -> Reply:
        """The app's reply, logged; `/_log` is answered here."""
        if request.path == "/_log":
            lines = "".join(json.dumps(entry) + "\n" for entry in list(self._log))
            return Reply(body=lines.encode(), content_type="application/x-ndjson")
        reply = self._app(request)
        self._log.append(_entry(request, reply))
        if reply.delay_s:
            self._closing.wait(reply.delay_s)
        return reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version = "stub"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    # The client has gone: nobody is left to tell.
                    self.close_connection = True

            def respond(self) -> None:
                reply = stub.answer(_read(self))
                if reply.drop:
                    self.close_connection = True
                    return
                raw = reply.payload()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.status != 204:
                    self.send_header("Content-Type", reply.content_type)
                    self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw if reply.status != 204 else b"")

            do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                return None

        return Handler


def _read(handler: BaseHTTPRequestHandler) -> StubRequest:
    url = urlsplit(handler.path)
    length = int(handler.headers.get("Content-Length") or 0)
    return StubRequest(
        method=handler.command,
        path=url.path,
        query=dict(parse_qsl(url.query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in handler.headers.items()},
        body=handler.rfile.read(length) if length else b"",
        at=time.time(),
    )


def _entry(request: StubRequest, reply: Reply) -> dict[str, Any]:
    return {
        "at": request.at,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "body": request.body[:10_000].decode("utf-8", "replace"),
        "credential": request.headers.get("authorization", "")[-4:],
        "reference": request.headers.get("idempotency-key"),
        "status": None if reply.drop else reply.status,
    }
