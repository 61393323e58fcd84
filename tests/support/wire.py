"""A wire that can be cut: a TCP proxy on loopback between a process and its store or server.

with Wire(6379) as wire:
    url = wire.through("redis://127.0.0.1:6379/0")   # the same URL by way of the wire
    wire.cut(); wire.heal()                          # nobody gets through; everybody again
    wire.swallow(3)                                  # the next three replies are lost after the request passed
    wire.lossy(0.01, seed=1)                         # every hundredth reply is lost
    wire.slow(0.05)                                  # every chunk arrives later
"""

import contextlib
import random
import socket
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536


class Wire:
    """A lost reply also closes its connection: the caller knows that it does not know."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.lost = 0
        self._lock = threading.Lock()
        self._is_cut = False
        self._closed = False
        self._delay_s = 0.0
        self._swallow = 0
        self._marker = b""
        self._ratio = 0.0
        self._random = random.Random(0)
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()

    def through(self, url: str) -> str:
        """`url` with this wire's port in place of its own."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}"))

    def cut(self) -> None:
        """Close every connection and every new one at once."""
        with self._lock:
            self._is_cut = True
            pairs = list(self._pairs)
        for pair in pairs:
            self._close(pair)

    def heal(self) -> None:
        """Let everything pass again, at full speed."""
        with self._lock:
            self._is_cut, self._delay_s, self._swallow, self._ratio = False, 0.0, 0, 0.0

    def slow(self, delay_s: float) -> None:
        with self._lock:
            self._delay_s = delay_s

    def swallow(self, count: int, after: bytes = b"") -> None:
        """Lose the replies to the next `count` requests (of those that contain `after`)."""
        with self._lock:
            self._swallow, self._marker = count, after

    def lossy(self, ratio: float, *, seed: int = 0) -> None:
        """Lose that share of all replies."""
        with self._lock:
            self._ratio, self._random = ratio, random.Random(seed)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._closed = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._is_cut:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._join(near, far)

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (near, far)
        with self._lock:
            self._pairs.add(pair)
        doomed = threading.Event()  # the reply to what was just sent is to be lost
        for work in (lambda: self._requests(pair, doomed), lambda: self._replies(pair, doomed)):
            threading.Thread(target=work, daemon=True).start()
        if self._is_cut:  # cut while it was being joined
            self._close(pair)

    def _requests(self, pair: tuple[socket.socket, socket.socket], doomed: threading.Event) -> None:
        near, far = pair
        with contextlib.suppress(OSError):
            while data := near.recv(_CHUNK):
                self._wait()
                if self._dooms(data):
                    doomed.set()
                far.sendall(data)
        self._close(pair)

    def _replies(self, pair: tuple[socket.socket, socket.socket], doomed: threading.Event) -> None:
        near, far = pair
        with contextlib.suppress(OSError):
            while data := far.recv(_CHUNK):
                self._wait()
                if doomed.is_set():
                    with self._lock:
                        self.lost += 1
                    break
                near.sendall(data)
        self._close(pair)

    def _dooms(self, data: bytes) -> bool:
        with self._lock:
            if self._swallow > 0 and self._marker in data:
                self._swallow -= 1
                return True
            return self._ratio > 0 and self._random.random() < self._ratio

    def _wait(self) -> None:
        if self._delay_s:
            time.sleep(self._delay_s)

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
