"""How a source's columns, words and codes translate; a TOML file, `newapi.toml` is the one that ships."""

import re
from pathlib import Path
from urllib.parse import quote

import msgspec

from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status
from jobs.platforms.registry import PROTOCOLS

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,127}")
SHORT_BYTES = 1024
TEXT_BYTES = 4096
JSON_BYTES = 16_384
LOOKUP_BYTES = 65_536


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the source's columns; "" for one that it does not have."""

    id: str
    platform: str
    status: str
    alias: str = ""
    user: str = ""
    action: str = ""
    channel: str = ""
    quota: str = ""
    fail_reason: str = ""
    progress: str = ""
    created_at: str = ""
    updated_at: str = ""
    submitted_at: str = ""
    started_at: str = ""


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checked mapping file; `external_id` and `secrets` are `column` or `column.json.path`."""

    name: str
    columns: Columns
    statuses: dict[str, str]
    platforms: dict[str, str]
    external_id: list[str]
    secrets: list[str] = []
    payload_texts: list[str] = []
    payload_json: list[str] = []
    protocols: dict[str, str] = {}
    poll_paths: dict[str, dict[str, str]] = {}

    def status(self, word: str) -> Status | None:
        """The status behind a trimmed upper-case word; None when the mapping does not know it."""
        name = self.statuses.get(word)
        return None if name is None else Status[name]

    def platform(self, word: str) -> str | None:
        """The platform behind a trimmed lower-case code or name."""
        found = self.platforms.get(word)
        return found or (word if word in self.names() else None)

    def names(self) -> list[str]:
        """All platforms of this mapping, sorted."""
        return sorted(set(self.platforms.values()))

    def urls(self, platform: str, action: str, external_id: str | None) -> dict[str, str]:
        """The addresses that the platform's adapter is to use for this job; mostly it knows them itself."""
        template = self.poll_paths.get(platform, {}).get(action)
        if template is None or external_id is None:
            return {}
        return {"get": template.replace("{id}", quote(external_id, safe=""))}

    def wanted(self) -> dict[str, int]:
        """Every column to read but the id, with the number of bytes (or characters) that are read of it."""
        caps = dict.fromkeys(self.payload_texts, SHORT_BYTES)
        caps |= dict.fromkeys(self.payload_json, JSON_BYTES)
        own = msgspec.structs.asdict(self.columns)
        caps |= {column: SHORT_BYTES for field, column in own.items() if column and field != "id"}
        if self.columns.fail_reason:
            caps[self.columns.fail_reason] = TEXT_BYTES
        for path in (*self.external_id, *self.secrets):
            column, dot, _ = path.partition(".")
            caps[column] = max(caps.get(column, 0), LOOKUP_BYTES if dot else SHORT_BYTES)
        return caps


def load(name: str = "newapi") -> Mapping:
    """The mapping called `newapi`, or the one in the TOML file `name`. Raises Misconfigured."""
    path = Path(name) if name.endswith(".toml") else Path(__file__).parent / f"{name}.toml"
    try:
        mapping = msgspec.toml.decode(path.read_bytes(), type=Mapping)
    except FileNotFoundError as error:
        raise Misconfigured(
            f"There is no mapping {name!r}: give `newapi` or a .toml file"
        ) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path.name}: {error}") from error
    _check(mapping, path.name)
    return mapping


def _check(mapping: Mapping, file: str) -> None:
    if not _NAME.fullmatch(mapping.name):
        raise Misconfigured(f"{file}: `name` has 1 to 64 letters, digits, `_`, `-`")
    for column in (mapping.columns.id, *mapping.wanted()):
        if not _COLUMN.fullmatch(column):
            raise Misconfigured(f"{file}: {column!r} is no name of a column")
    known = {status.name for status in Status} - {Status.EMPTY.name}
    for word, status in mapping.statuses.items():
        if status not in known or word != word.strip().upper():
            raise Misconfigured(
                f"{file}: statuses.{word}: an upper-case word = a status", allowed=sorted(known)
            )
    for word, platform in mapping.platforms.items():
        if word != word.strip().lower() or not _NAME.fullmatch(platform):
            raise Misconfigured(f"{file}: platforms.{word}: a lower-case word = a name")
    for platform, paths in mapping.poll_paths.items():
        for action, path in paths.items():
            if not path.startswith("/") or action != action.strip().lower():
                raise Misconfigured(
                    f"{file}: poll_paths.{platform}: a lower-case action = a path with {{id}}"
                )
    for platform, protocol in mapping.protocols.items():
        if protocol not in PROTOCOLS:
            raise Misconfigured(f"{file}: protocols.{platform}", allowed=sorted(PROTOCOLS))
