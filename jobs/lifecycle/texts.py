"""Hostile text from handlers made fit for a row: bounded, without NUL and lone surrogates."""

import re

import msgspec

from jobs.contract.reader import contract

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def error_text(error: BaseException, traceback: str = "") -> str:
    """`"Type: message"`, then the end of the traceback, within the contract's `error_chars`."""
    limit = contract().limits.error_chars
    kind = type(error).__name__
    message = _message(error)
    head = clean(f"{kind}: {message}" if message else kind)[:limit]
    room = limit - len(head) - 1
    if not traceback or room < 2:
        return head
    body = clean(traceback)
    return f"{head}\n{body if len(body) <= room else '…' + body[1 - room :]}"


def clean(text: str) -> str:
    """The text as PostgreSQL can store it."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def bounded(text: str) -> str:
    """`clean`, within the contract's `error_chars`."""
    return clean(text)[: contract().limits.error_chars]


def result_problem(result: object) -> str | None:
    """Why a handler's result cannot be stored as JSON; None when it can."""
    if result is None:
        return None
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        return f"the handler's result is not JSON: {error}"
    limit = contract().limits.result_bytes
    if len(encoded) > limit:
        return f"the handler's result has {len(encoded)} bytes, at most {limit} are kept"
    return "the handler's result contains NUL" if _NUL.search(encoded) else None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # hostile ones raise SystemExit here
        return "(its message cannot be read)"
