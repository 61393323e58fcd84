"""A mail server that delivers into files: one per Message-ID, so a repetition replaces its first copy."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from taskcenter.demo import ports

KEPT = 200
MAX_BYTES = 1_000_000
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """One delivered mail; `name` finds it again."""

    name: str
    at: datetime
    recipient: str
    subject: str
    message_id: str
    text: str = ""


class Sink:
    """aiosmtpd's handler: writes what arrives and forgets the oldest beyond KEPT."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name for it
        self, _server: Any, _session: Any, envelope: Envelope
    ) -> str:
        content = envelope.content or b""
        store(self._folder, content.encode() if isinstance(content, str) else content)
        return "250 Message accepted for delivery"


def controller(folder: Path) -> Controller:
    """The server, not started yet; it runs in a thread of its own."""
    return Controller(
        Sink(folder), hostname=ports.HOST, port=ports.port("SMTP"), data_size_limit=MAX_BYTES
    )


def store(folder: Path, content: bytes) -> str:
    """Keep one mail and return its name."""
    message_id = str(_parse(content)["Message-ID"] or "")
    name = hashlib.sha256(message_id.encode() or content).hexdigest()[:32]
    part = folder / f"{name}.part"
    part.write_bytes(content)
    part.replace(folder / f"{name}.eml")
    for old in _files(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return name


def delivered(folder: Path, limit: int = KEPT) -> list[Mail]:
    """What arrived, newest first."""
    return [mail for path in _files(folder)[:limit] if (mail := _read(path)) is not None]


def find(folder: Path, name: str) -> Mail | None:
    return _read(folder / f"{name}.eml", with_text=True) if _NAME.fullmatch(name) else None


def _files(folder: Path) -> list[Path]:
    found = []
    for path in folder.glob("*.eml"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:
            continue
    return [path for _, path in sorted(found, reverse=True)]


def _parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)


def _read(path: Path, *, with_text: bool = False) -> Mail | None:
    try:
        content, written_s = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return None
    message = _parse(content)
    body = message.get_body(("plain",)) if with_text else None
    return Mail(
        name=path.stem,
        at=datetime.fromtimestamp(written_s, UTC),
        recipient=str(message["To"] or ""),
        subject=str(message["Subject"] or ""),
        message_id=str(message["Message-ID"] or ""),
        text=str(body.get_content()) if body is not None else "",
    )
