"""The demo as one process: its three servers, and a loop that submits work until it is asked to stop."""

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections

from taskcenter.demo import callback_receiver, mail_sink, ports, replicate_stub, work
from taskcenter.demo.views import folder

log = structlog.get_logger("demo")

TOKEN_FILE = "demo-replicate-token"  # noqa: S105 - the name of the file
WEBHOOK_FILE = "demo-replicate-webhook-secret"
_PAUSE_S = 5.0


def main(*, every_s: float = 1.0) -> None:
    """Run until SIGTERM or SIGINT. Raises SystemExit with one line when a port is taken."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as servers:
        for name, server in (
            ("SMTP", _mail()),
            ("CALLBACK", _callbacks()),
            ("REPLICATE", _replicate()),
        ):
            try:
                servers.enter_context(server)
            except OSError as error:
                raise SystemExit(
                    f"demo: port {ports.port(name)} cannot be used ({error})"
                ) from error
        log.info("demo started", smtp=ports.port("SMTP"), callbacks=ports.port("CALLBACK"))
        _work(stop, every_s)
    log.info("demo stopped")


def _work(stop: threading.Event, every_s: float) -> None:
    """Jittered steps; a database that is away is waited for."""
    dice = random.Random()
    while not stop.wait(dice.uniform(0.6, 1.4) * every_s):
        try:
            close_old_connections()
            work.one(dice)
        except DatabaseError as error:
            log.warning("demo waits for the database", error=type(error).__name__)
            stop.wait(_PAUSE_S)


@contextmanager
def _mail() -> Iterator[None]:
    server = mail_sink.controller(folder())
    server.start()
    try:
        yield
    finally:
        server.stop()


@contextmanager
def _callbacks() -> Iterator[None]:
    server = callback_receiver.Receiver()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _replicate() -> Iterator[None]:
    token, secret = (
        (Path(settings.DATA_DIR) / name).read_text().strip() for name in (TOKEN_FILE, WEBHOOK_FILE)
    )
    server, _ = replicate_stub.serve(
        token=token, webhook_secret=secret, port=ports.port("REPLICATE")
    )
    with server:
        yield
