"""What a platform's answers say: ids, fields and reasons in any JSON, its status words in ours."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.domain.states import Status
from jobs.platforms.base import (
    CancelDone,
    Cancelled,
    CancelRequested,
    CancelResult,
    Failed,
    PollRequest,
    PollResult,
    Running,
    Succeeded,
    TooLate,
    TransientPoll,
    Unrecognised,
)
from jobs.platforms.http import Answer, NoAnswer

_ID = re.compile(r"[\x21-\x7e]{1,255}")


def read_id(value: object) -> str | None:
    """An external id that we can store and put into a URL."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _ID.fullmatch(text) or not text.strip("."):
        return None
    return text


def field(body: object, path: str) -> Any:
    """The value at a dotted path (`data.videos.0.url`); None when any step is missing."""
    for step in path.split(".") if path else ():
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and step.isdecimal():
            body = body[int(step)] if int(step) < len(body) else None
        else:
            return None
    return body


def body_of(answer: Answer | NoAnswer) -> Any:
    return answer.body if isinstance(answer, Answer) else None


def brief(body: object, names: Iterable[str]) -> dict[str, Any]:
    """The named fields that are worth keeping beside the task, none of them long."""
    kept = {}
    for name in names:
        value = field(body, name)
        if isinstance(value, str):
            kept[name] = value[:2000]
        elif value is not None and len(repr(value)) <= 4000:
            kept[name] = value
    return kept


def say(value: object, otherwise: str = "the platform gave no reason") -> str:
    """A reason for people, out of whatever a platform put there."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("msg") or value.get("detail") or value
    text = value if isinstance(value, str) else "" if value is None else repr(value)
    return text.strip()[:2000] or otherwise


def problem(answer: Answer) -> str:
    """Why an answer is no good, in the platform's words where it has some."""
    if answer.problem is not None:
        return answer.problem
    for path in ("error.message", "detail", "message", "title", "error"):
        if (value := field(answer.body, path)) is not None:
            return say(value)
    return "an answer of an unexpected shape"


def percent(value: object) -> int | None:
    """A progress from 0 to 100 out of any number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return max(0, min(100, int(value)))


def other_job(named: object, request: PollRequest) -> TransientPoll | None:
    """The refusal of an answer that is not about the job that was asked about."""
    if read_id(named) == request.external_id:
        return None
    return TransientPoll(reason="the answer is about another job")


def open_result(
    word: object, known: Mapping[str, Status], answer: object, progress: int | None = None
) -> PollResult | None:
    """Running for an open status, EMPTY or malformed or unknown words; None when it has ended."""
    if not isinstance(word, str):
        return TransientPoll(reason="the answer has no status")
    if word == "":
        return Running(status=Status.EMPTY, raw_status="", progress=progress, answer=answer)
    status = known.get(word)
    if status is None:
        return Unrecognised(raw_status=word[:200], answer=answer)
    if status in (Status.SUCCESS, Status.FAILURE, Status.CANCELLED):
        return None
    return Running(status=status, raw_status=word, progress=progress, answer=answer)


def poll_result(
    word: Any,
    known: Mapping[str, Status],
    answer: object,
    *,
    result: object,
    reason: str,
    progress: int | None = None,
    billed: float | None = None,
) -> PollResult:
    """What `word` means; the rest is what belongs to it, should it be that end."""
    still_open = open_result(word, known, answer, progress)
    if still_open is not None:
        return still_open
    match known[word]:
        case Status.SUCCESS:
            return Succeeded(result=result, raw_status=word, answer=answer)
        case Status.CANCELLED:
            return Cancelled(raw_status=word, answer=answer, billed=billed)
    return Failed(reason=reason, raw_status=word, answer=answer, billed=billed)


def cancel_result(word: object, known: Mapping[str, Status]) -> CancelResult | None:
    """What the status in the answer to a cancel means; None for a word that nobody knows."""
    if not isinstance(word, str):
        return None
    match known.get(word):
        case None:
            return None
        case Status.CANCELLED:
            return CancelDone(raw_status=word)
        case Status.SUCCESS | Status.FAILURE:
            return TooLate(raw_status=word)
    return CancelRequested(raw_status=word)
