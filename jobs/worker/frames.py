"""JSON messages between a worker and its children, each after its length in four bytes. Nothing is pickled."""

import socket
import struct
import threading
from typing import Any

import msgspec

_LENGTH = struct.Struct("!I")
_MOST_BYTES = 256 * 1024 * 1024


class Frames:
    """Both ends of a socket pair; `send` may be called from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Raises OSError when the other side is gone."""
        data = msgspec.json.encode(message)
        with self._lock:
            self._sock.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side is gone."""
        try:
            head = self._exactly(_LENGTH.size)
            length = _LENGTH.unpack(head)[0] if head else 0
            data = self._exactly(length) if 0 < length <= _MOST_BYTES else b""
            return msgspec.json.decode(data) if data else None
        except (OSError, msgspec.DecodeError):
            return None

    def close(self) -> None:
        self._sock.close()

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = self._sock.recv(min(count, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
