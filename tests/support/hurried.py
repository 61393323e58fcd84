"""The contract and HTTP's patience in less time: what is asserted of them are ratios.

In a worker of its own: `TASKCENTER_HANDLERS=tests.support.hurried`, `HURRY=0.1`.
"""

import dataclasses
import os

import msgspec

from jobs.contract import reader
from jobs.contract.reader import Contract
from jobs.platforms import http


def scaled(contract: Contract, factor: float) -> Contract:
    """The contract with all platform delays multiplied."""
    profiles = {
        name: msgspec.structs.replace(p, initial_s=p.initial_s * factor, max_s=p.max_s * factor)
        for name, p in contract.profiles.items()
    }
    delays = {status: tuple(s * factor for s in them) for status, them in contract.delays.items()}
    breaker = msgspec.structs.replace(
        contract.breaker,
        open_s=contract.breaker.open_s * factor,
        probe_timeout_s=contract.breaker.probe_timeout_s * factor,
    )
    return dataclasses.replace(contract, profiles=profiles, delays=delays, breaker=breaker)


def environment(factor: float, **more: str) -> dict[str, str]:
    """For a process that hurries by `factor`."""
    return {"TASKCENTER_HANDLERS": __name__, "HURRY": str(factor), **more}


def _hurry(factor: float) -> None:
    quick = scaled(reader.load(), factor)
    reader.contract.cache_clear()
    setattr(reader, "load", lambda: quick)  # noqa: B010  # mypy: a function is replaced
    for name in ("TOTAL_S", "CONNECT_S", "SILENT_S"):
        setattr(http, name, getattr(http, name) * factor)


if "HURRY" in os.environ:
    _hurry(float(os.environ["HURRY"]))
