"""Where the demo's servers listen. Fixed ports, because worker processes must know them from the start."""

import os

HOST = "127.0.0.1"
_DEFAULTS = {"SMTP": 8025, "CALLBACK": 8026, "REPLICATE": 8027}


def port(name: str) -> int:
    """The port from TASKCENTER_DEMO_<name>_PORT, else the default."""
    variable = f"TASKCENTER_DEMO_{name}_PORT"
    given = os.environ.get(variable, "").strip()
    if not given:
        return _DEFAULTS[name]
    if not given.isdecimal() or not 0 < int(given) < 65_536:
        raise SystemExit(f"{variable}: {given!r} is not possible; allowed: a port from 1 to 65535")
    return int(given)


def url(name: str) -> str:
    return f"http://{HOST}:{port(name)}"
