"""What an operator may type into the task list's search field, and the filters in its address."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from django.http import HttpRequest

from jobs.domain import ids
from jobs.domain.errors import Invalid, TaskNotFound
from jobs.domain.states import State
from jobs.selectors import tasks
from jobs.selectors.task_filters import TaskFilter

FILTERS = ("state", "status", "queue", "type", "platform", "parent", "tag")
TIMES = ("created_after", "created_before")
_INTERNAL = {"all": None, "true": True, "false": False}
_PREFIXES = {
    "user": "user_id",
    "business": "business_id",
    "trace": "trace_id",
    "tag": "tag",
    "type": "type",
    "error": "q",
}
_TRACE = re.compile(r"[0-9a-f]{32}")
_INTEGER = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """`task`: the text was a task's id; `field`: what it was taken for otherwise."""

    wanted: TaskFilter
    task: str | None = None
    field: str | None = None


def filters(request: HttpRequest) -> TaskFilter:
    """The filters of the address, without the search text."""
    given = {name: _clean(request.GET.get(name, "")) for name in FILTERS}
    times = {name: _moment(name, _clean(request.GET.get(name, ""))) for name in TIMES}
    found = {name: text for name, text in given.items() if text}
    return TaskFilter(**found, **times, internal=_internal(request, found))  # type: ignore[arg-type]


def _internal(request: HttpRequest, given: dict[str, str]) -> bool | None:
    """The engine's own tasks are left out unless asked for: outright, by a name that they have, or as dead letters."""
    asked = request.GET.get("internal", "")
    if asked in _INTERNAL:
        return _INTERNAL[asked]
    named = {"type", "parent"} & given.keys() or _clean(request.GET.get("q", ""))
    return None if named or given.get("state") == State.ARCHIVED.wire else False


def _moment(name: str, text: str) -> datetime | None:
    """What a date field sends; a time without a zone is UTC, as the console shows them. Raises Invalid."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("`%(field)s` is not a time", field=name) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def search(text: str, base: TaskFilter, tenant_id: int = 1) -> Found:
    """Take the text for an id, for `field:value`, or for the first kind of fact that some task has."""
    text = _clean(text)
    if not text:
        return Found(wanted=base)
    public = _known_task(text, tenant_id)
    if public:
        return Found(wanted=base, task=public)
    word, colon, rest = text.partition(":")
    if colon and word in _PREFIXES and rest.strip():
        return _by(base, _PREFIXES[word], rest.strip())
    return _guess(text, base, tenant_id)


def task_uuid(any_id: str, tenant_id: int = 1) -> UUID:
    """The UUID behind an id in an address; a name that its caller chose is one of `tenant_id`."""
    return ids.parse_id(_clean(any_id), tenant_id)


def slug(task_id: str, tenant_id: int = 1) -> str:
    """A task's id as it stands in addresses: a caller's own name may hold slashes."""
    return ids.public_id(task_uuid(task_id, tenant_id))


def _guess(text: str, base: TaskFilter, tenant_id: int) -> Found:
    fields = ["business_id", "tag", "trace_id", "type"]
    if _TRACE.fullmatch(text):
        fields.insert(0, "trace_id")
    if _INTEGER.fullmatch(text):
        fields.insert(0, "user_id")
    candidates = [_by(base, field, text) for field in fields]
    known = (c for c in candidates if tasks.listing(c.wanted, limit=1, tenant_id=tenant_id).items)
    return next(known, candidates[0])


def _by(base: TaskFilter, field: str, text: str) -> Found:
    value: object = text
    if field == "user_id":
        value = int(text) if _INTEGER.fullmatch(text) else -(2**62)
    return Found(wanted=msgspec.structs.replace(base, **{field: value}), field=field)


def _known_task(text: str, tenant_id: int) -> str | None:
    """Any tenant's task by its own id, one of `tenant_id` by the name that its caller chose."""
    id_ = task_uuid(text, tenant_id)
    try:
        tasks.tenant_of(id_)
    except TaskNotFound:
        return None
    return ids.public_id(id_)


def _clean(text: str) -> str:
    return text.replace("\x00", "").strip()[:512]
