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
            raise Misconfigured(
                f"{self.url_env} (url_env of {self.table}) holds no URL; set it for the workers",
                variable=self.url_env,
            )
        return found


def named(name: str) -> SyncSource:
    """Raises Invalid with the names that exist."""
    known = sources()
    if name in known:
        return known[name]
    if not _path():
        raise Invalid(
            "There is no source '%(name)s' to sync: TASKCENTER_SYNC_SOURCES names no file here",
            name=name,
            field="source",
        )
    raise Invalid(
        "There is no source '%(name)s' to sync", name=name, field="source", known=sorted(known)
    )


def sources() -> dict[str, SyncSource]:
    """All of the file; none without a file. Raises Misconfigured naming the file, the key and what is wrong with it."""
    path = _path()
    return _read(path) if path else {}


def _path() -> str:
    return str(settings.TASKCENTER.get("SYNC_SOURCES") or "")


@functools.cache
def _read(path: str) -> dict[str, SyncSource]:
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        advice = "name a TOML file that web and workers can read, or none"
        raise _wrong(path, f"cannot be read ({error.strerror}); {advice}") from error
    except ValueError as error:  # tomllib's, and text that is not UTF-8
        raise _wrong(path, f"is not TOML: {error}") from error
    return {name: _source(path, name, given) for name, given in raw.items()}


def _source(path: str, name: str, given: object) -> SyncSource:
    if not isinstance(given, dict):
        raise _wrong(path, f"`{name}` stands outside of a source; begin each with [its name]")
    try:
        found = msgspec.convert(given, SyncSource)
    except msgspec.ValidationError as error:
        raise _wrong(path, f"[{name}]: {error}") from error
    if bool(found.url) is bool(found.url_env):
        raise _wrong(path, f"[{name}] needs one of `url` and `url_env`")
    return found


def _wrong(path: str, what: str) -> Misconfigured:
    return Misconfigured(f"TASKCENTER_SYNC_SOURCES: {path} {what}", file=path)
