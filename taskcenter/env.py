"""Typed reading of environment variables; a wrong value stops the start with one clear line."""

import base64
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_T = TypeVar("_T")

MASK = "********"
DERIVED = "derived"
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
_PASSWORD_PARAMETER = re.compile(r"(?i)((?:password|passwd|sslpassword|token|secret)=)[^&]*")

_effective: dict[str, str] = {}


class WrongValue(SystemExit):
    """An environment variable has a value that cannot be used; printed as one line, exit status 1."""

    def __init__(self, name: str, given: str, allowed: str) -> None:
        super().__init__(f"{name}: {given} is not possible; allowed: {allowed}")


def effective() -> list[tuple[str, str]]:
    """Every variable read so far with the value in force, secrets masked, sorted by name."""
    return sorted(_effective.items())


def text(name: str, default: str = "") -> str:
    return _read(name, default, lambda given: given)


def flag(name: str, default: bool) -> bool:
    def parse(given: str) -> bool:
        word = given.strip().lower()
        if word not in _TRUE | _FALSE:
            raise WrongValue(name, repr(given), "true or false")
        return word in _TRUE

    return _read(name, default, parse, show=lambda value: str(value).lower())


def integer(name: str, default: int, *, minimum: int, maximum: int) -> int:
    allowed = f"a whole number from {minimum} to {maximum}"
    return _read(name, default, _bounded(int, name, minimum, maximum, allowed))


def number(name: str, default: float, *, minimum: float, maximum: float) -> float:
    allowed = f"a number from {minimum:g} to {maximum:g}"
    return _read(name, default, _bounded(float, name, minimum, maximum, allowed))


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    def parse(given: str) -> str:
        if given not in allowed:
            raise WrongValue(name, repr(given), ", ".join(allowed))
        return given

    return _read(name, default, parse)


def words(name: str, default: Sequence[str] = ()) -> list[str]:
    """A comma-separated list; blanks around the commas don't matter."""
    return _read(name, list(default), _split, show=",".join)


def folder(name: str, default: Path) -> Path:
    return _read(name, default, lambda given: Path(given).expanduser().absolute())


def url(name: str, default: str, schemes: Sequence[str]) -> str:
    """A URL with one of the schemes, also from the file named by `<name>_FILE`; shown without passwords."""

    def parse(given: str) -> str:
        try:
            parts = urlsplit(given)
            parts.port  # noqa: B018 - raises for a port that is none
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in schemes:
            allowed = "a URL beginning " + " or ".join(f"{scheme}://" for scheme in schemes)
            raise WrongValue(name, repr(mask_url(given)), allowed)
        return given

    return _read(name, default, parse, show=mask_url, file=True)


def secret(name: str, default: str = "") -> str:
    """A secret from `<name>` or from the file named by `<name>_FILE`; never shown."""
    return _read(name, default, lambda given: given, show=_masked, file=True)


def secrets(name: str) -> list[str]:
    """A comma-separated list of secrets, also from the file named by `<name>_FILE`; never shown."""
    return _read(name, [], _split, show=lambda found: ",".join([MASK] * len(found)), file=True)


def fernet_keys(name: str, derived: Sequence[str]) -> list[str]:
    """Keys that seal (the first) and open (all); the word `derived` stands for these keys, as does nothing at all."""
    found: list[str] = []
    for key in secrets(name) or [DERIVED]:
        if key != DERIVED and not _is_fernet_key(key):
            allowed = f"Fernet keys (32 bytes as URL-safe base64), or the word {DERIVED}"
            raise WrongValue(name, "one of the keys", allowed)
        found += derived if key == DERIVED else [key]
    return found


def _is_fernet_key(key: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key)) == 32
    except ValueError:
        return False


def redis_url(name: str, database_name: str) -> tuple[str, int]:
    """A Redis URL and the number of its database, which the second variable, if set, decides."""
    parts = urlsplit(url(name, "redis://127.0.0.1:6379/0", ("redis", "rediss", "unix")))
    is_socket = parts.scheme == "unix"
    query = dict(parse_qsl(parts.query))
    own = query.get("db") or ("" if is_socket else parts.path.strip("/")) or "0"
    if not own.isdecimal():
        raise WrongValue(name, f"database {own!r}", "the number of a database")
    database = integer(database_name, int(own), minimum=0, maximum=1023)
    if is_socket or "db" in query:
        query["db"] = str(database)
        path = parts.path
    else:
        path = f"/{database}"
    tail = f"?{urlencode(query)}" if query else ""
    return f"{parts.scheme}://{parts.netloc}{path}{tail}", database


def named_secrets(name: str) -> dict[str, str]:
    """A comma-separated list of `name=secret`, also from the file named by `<name>_FILE`; never shown."""

    def parse(given: str) -> dict[str, str]:
        pairs = [word.partition("=") for word in _split(given)]
        if not all(key and value for key, _, value in pairs):
            raise WrongValue(name, "an entry without name or secret", "name=secret,name=secret")
        return {key: value for key, _, value in pairs}

    return _read(
        name, {}, parse, show=lambda found: ",".join(f"{k}={MASK}" for k in found), file=True
    )


def mask_url(given: str) -> str:
    """`given` without any password in it, for logs and messages."""
    try:
        parts = urlsplit(given)
        password = parts.password
    except ValueError:
        return MASK
    netloc = parts.netloc
    if password is not None:
        user, host = netloc.rpartition("@")[0].partition(":")[0], netloc.rpartition("@")[2]
        netloc = f"{user}:{MASK}@{host}"
    query = _PASSWORD_PARAMETER.sub(rf"\g<1>{MASK}", parts.query)
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


def _read(
    name: str,
    default: _T,
    parse: Callable[[str], _T],
    *,
    show: Callable[[_T], str] = str,
    file: bool = False,
) -> _T:
    given = _from_file(name) if file else None
    if given is None:
        given = os.environ.get(name)
    value = default if given is None or not given.strip() else parse(given)
    _effective[name] = show(value)
    return value


def _from_file(name: str) -> str | None:
    path = os.environ.get(f"{name}_FILE", "")
    if not path:
        return None
    if os.environ.get(name):
        raise WrongValue(f"{name}_FILE", f"{path!r} beside {name}", "only one of the two")
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongValue(f"{name}_FILE", repr(path), f"a readable text file ({error})") from error
    if not found:
        raise WrongValue(f"{name}_FILE", repr(path), "a file that is not empty")
    return found


def _bounded(
    convert: Callable[[str], _T], name: str, minimum: float, maximum: float, allowed: str
) -> Callable[[str], _T]:
    def parse(given: str) -> _T:
        try:
            value = convert(given)
        except ValueError:
            raise WrongValue(name, repr(given), allowed) from None
        if not minimum <= float(value) <= maximum:  # type: ignore[arg-type]  # int or float
            raise WrongValue(name, repr(given), allowed)
        return value

    return parse


def _split(given: str) -> list[str]:
    return [word.strip() for word in given.split(",") if word.strip()]


def _masked(value: str) -> str:
    return MASK if value else ""
