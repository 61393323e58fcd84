"""The tables that `data:sync` may copy: named in the TOML file of TASKCENTER_SYNC_SOURCES."""

import functools
import os
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from django.conf import settings
from msgspec import Meta

from jobs.domain.errors import Invalid, Misconfigured

Column = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,127}$")]


class SyncSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table and how its changes are found: rows beyond the last (watermark, key).

    `url_env` names the variable that holds the URL, instead of `url`. No `columns`: all of them. `overlap` is read
    again by every run (seconds for a time, units for a number): rows whose transaction ended late are found there.
    """

    table: str
    key: Column
    watermark: Column
    url: str = ""
    url_env: str = ""
    columns: list[Column] = []
    overlap: Annotated[float, Meta(ge=0)] = 0.0
    batch: Annotated[int, Meta(ge=1, le=5_000)] = 500

    def address(self) -> str:
        """The URL. Raises Misconfigured when its variable is not set."""
        found = self.url or os.environ.get(self.url_env, "")
        if not found:
            raise Misconfigured(f"{self.url_env} holds no URL", variable=self.url_env)
        return found


def named(name: str) -> SyncSource:
    """Raises Invalid with the names that exist."""
    known = sources()
    if name not in known:
        raise Invalid(
            "There is no source '%(name)s' to sync", name=name, field="source", known=sorted(known)
        )
    return known[name]


def sources() -> dict[str, SyncSource]:
    """All of the file; none without a file. Raises Misconfigured naming what is wrong."""
    path = str(settings.TASKCENTER.get("SYNC_SOURCES") or "")
    return _read(path) if path else {}


@functools.cache
def _read(path: str) -> dict[str, SyncSource]:
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        found = msgspec.convert(raw, dict[str, SyncSource])
    except (OSError, ValueError) as error:  # msgspec's and tomllib's are ValueErrors
        raise Misconfigured(f"TASKCENTER_SYNC_SOURCES: {path}: {error}", file=path) from error
    for name, source in found.items():
        if bool(source.url) is bool(source.url_env):
            raise Misconfigured(
                f"TASKCENTER_SYNC_SOURCES: {path}: {name} needs one of `url` and `url_env`",
                file=path,
            )
    return found
