"""Which Redis and Valkey servers are too old: for our scripts, or with a hole in their Lua (CVE-2025-49844)."""

import re
from collections.abc import Mapping

OLDEST = (6, 2)
# The release of each line in which the hole is closed; newer lines never had it.
_MENDED = {
    "redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}


def too_old(info: Mapping[str, object]) -> bool:
    """Whether our scripts would not run there; `info` is the server's INFO."""
    version = _parsed(info.get("redis_version"))
    return version is not None and version[:2] < OLDEST


def has_hole(info: Mapping[str, object]) -> bool:
    """Whether this release is known for the hole; a line without a mended release counts as open."""
    name = "valkey" if info.get("valkey_version") else "redis"
    version, mended = _parsed(info.get(f"{name}_version")), _MENDED[name]
    if version is None or version[:2] > max(mended):
        return False
    return version[2] < mended.get(version[:2], 1_000_000)


def _parsed(text: object) -> tuple[int, int, int] | None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", str(text or ""))
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None
