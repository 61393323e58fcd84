"""Values of a source that nobody trusts, made fit for our rows; what had to be changed is noted."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

_MILLISECONDS_FROM = 1e11
_MAX_DEPTH = 32
_MAX_INT_BITS = 256
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_PERCENT = re.compile(r"\s*(\d{1,3})(?:\.\d+)?\s*%?\s*")


class Notes(list[str]):
    """What was changed in a row, in the order found, each once."""

    def add(self, note: str) -> None:
        if note not in self:
            self.append(note)


def text(raw: object, name: str, limit: int, notes: Notes) -> str | None:
    """The value as text that PostgreSQL can store, at most `limit` characters; None for NULL."""
    if raw is None:
        return None
    if isinstance(raw, bytes):
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            value = raw.decode("utf-8", "replace")
            notes.add(f"{name}: bytes that are no UTF-8 replaced")
    else:
        value = str(raw)
    if _UNFIT.search(value):
        value = _UNFIT.sub("\ufffd", value)
        notes.add(f"{name}: NUL or lone surrogate replaced")
    if len(value) > limit:
        notes.add(f"{name}: cut to {limit} characters")
        value = value[:limit]
    return value


def whole(raw: object, name: str, notes: Notes) -> int | None:
    """A whole number; None (and a note) for what is none."""
    if raw is None or isinstance(raw, int):
        return raw
    try:
        word = raw.decode().strip() if isinstance(raw, bytes) else str(raw).strip()
        return int(word) if word.lstrip("+-").isdecimal() else int(float(word))
    except (ValueError, OverflowError):
        notes.add(f"{name}: not a number")
        return None


def unix_s(raw: object, name: str, notes: Notes) -> float | None:
    """Unix seconds from seconds or (from 1e11 on) milliseconds; None for NULL, 0 and below."""
    value = whole(raw, name, notes)
    if value is None or value <= 0:
        return None
    return value / 1000 if value >= _MILLISECONDS_FROM else float(value)


def moment(at_s: float | None, now_s: float) -> datetime | None:
    """A time that is not in the future; None for others."""
    return None if at_s is None or at_s > now_s else datetime.fromtimestamp(at_s, UTC)


def percent(raw: object) -> int | None:
    """0 to 100 from `"30%"`; None for what is none."""
    word = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw or "")
    found = _PERCENT.fullmatch(word)
    value = int(found[1]) if found else 101
    return value if value <= 100 else None


def json_value(raw: object, name: str, limit: int, notes: Notes) -> Any:
    """The JSON behind the value, cleaned; what cannot be read as JSON stays as text of at most `limit` characters."""
    if raw is None or raw in (b"", ""):
        return None
    data = raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "surrogatepass")
    if len(data) <= limit:
        try:
            return _cleaned(_parse(data), name, notes, _MAX_DEPTH)
        except (ValueError, RecursionError):
            pass
    notes.add(f"{name}: not readable as JSON, kept as text")
    return text(data, name, limit, notes)


def parsed(raw: object) -> Any:
    """The JSON behind the value for looking something up in it; None when it cannot be read."""
    if raw is None:
        return None
    data = raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "surrogatepass")
    try:
        return _parse(data)
    except (ValueError, RecursionError):
        return None


def _parse(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data.decode("utf-8", "replace"), strict=False)


def _cleaned(value: Any, name: str, notes: Notes, left: int) -> Any:
    if left < 0:
        raise ValueError("too deep")
    if isinstance(value, str):
        return text(value, name, len(value), notes)
    if isinstance(value, dict):
        return {
            text(key, name, len(key), notes): _cleaned(item, name, notes, left - 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(item, name, notes, left - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        notes.add(f"{name}: NaN or infinity dropped")
        return None
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return str(value)
    return value
