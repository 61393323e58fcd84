"""Free TCP ports on loopback, below the range that the kernel hands out to outgoing connections."""

import random
import socket

_LOWEST, _HIGHEST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether nothing listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that was free a moment ago; raises RuntimeError when 200 tries found none."""
    for _ in range(200):
        port = random.randint(_LOWEST, _HIGHEST)
        if is_free(port):
            return port
    raise RuntimeError(f"no free port between {_LOWEST} and {_HIGHEST} on 127.0.0.1")
