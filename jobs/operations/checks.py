"""What is refused of a request before anything is stored; every refusal names the field."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings

from jobs.domain import headers, ids
from jobs.domain.errors import Invalid, TooLarge
from jobs.handlers.registry import PLATFORM_RUN, Handler, handler
from jobs.operations.requests import TaskRequest

MAX_SHARDS = 10_000
MAX_AFTER = 100
MAX_TAGS = 32
MAX_HEADERS = 32


def check_json(value: Any) -> str:
    """The value as JSON text; raises TooLarge or Invalid for what may not be stored."""
    limit = int(settings.TASKCENTER["MAX_PAYLOAD_BYTES"])
    _walk(value, int(settings.TASKCENTER["MAX_PAYLOAD_DEPTH"]))
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as error:
        raise Invalid(
            "The payload is not JSON: %(reason)s", reason=str(error), field="payload"
        ) from error
    if len(text) > limit:
        raise TooLarge(
            "The payload has %(bytes)s bytes, at most %(limit_bytes)s are allowed",
            bytes=len(text),
            limit_bytes=limit,
        )
    return text.decode()


def _walk(value: Any, left: int) -> None:
    if left < 0:
        raise TooLarge(
            "The payload is nested too deeply", limit=settings.TASKCENTER["MAX_PAYLOAD_DEPTH"]
        )
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(str(key))
            _walk(item, left - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _walk(item, left - 1)
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise Invalid(
            "The payload holds a number that JSON does not have (NaN or infinity)", field="payload"
        )
    elif isinstance(value, int):
        if value.bit_length() > 256:
            raise Invalid("The payload holds a number of more than 256 bits", field="payload")
    elif isinstance(value, float) and abs(value) >= 1e77:
        raise Invalid("The payload holds a number too large to be kept as it is", field="payload")
    elif value is not None and not isinstance(value, float):
        raise Invalid(
            "The payload holds a %(kind)s, which JSON does not have",
            kind=type(value).__name__,
            field="payload",
        )


def check_text(text: str) -> None:
    """Refuse what PostgreSQL cannot store: NUL and lone surrogates."""
    if "\x00" in text:
        raise Invalid("Text must not contain NUL (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("Text must not contain lone surrogates") from error


def check_options(request: TaskRequest) -> None:
    texts = (
        request.business_id,
        request.trace_id,
        request.unique_key,
        request.task_id,
        request.idempotency_key,
        request.limit_key,
    )
    for text in (
        *texts,
        request.group,
        *request.after,
        *request.tags,
        *request.headers,
        *request.headers.values(),
    ):
        if text is not None:
            check_text(text)
            if len(text) > 512:
                raise Invalid("Ids, tags and headers have at most 512 characters")
    if request.task_id is not None and not _own_id_allowed(request.task_id):
        raise Invalid(
            "A task id of your own has 1 to 128 letters, digits, `_`, `-`, `.` and does not look like one of ours",
            field="task_id",
        )
    if request.task_id == "" or request.unique_key == "" or request.idempotency_key == "":
        raise Invalid("An id or key must not be empty")
    if len(request.tags) > MAX_TAGS or len(request.headers) > MAX_HEADERS:
        raise Invalid(
            "At most %(max_tags)s tags and %(max_headers)s headers are allowed",
            max_tags=MAX_TAGS,
            max_headers=MAX_HEADERS,
        )
    _check_structure(request)
    headers.check(request.headers, sent=request.callback_url is not None)
    if request.deadline is not None and request.deadline <= datetime.now(UTC):
        raise Invalid("`deadline` has passed already", field="deadline")
    url = request.callback_url
    if url is not None and (len(url) > 2048 or not url.startswith(("http://", "https://"))):
        raise Invalid(
            "`callback_url` is an http(s) URL of at most 2,048 characters", field="callback_url"
        )
    for name, low, high in _RANGES:
        value = getattr(request, name)
        if value is not None and not low <= value <= high:
            raise Invalid(
                "`%(field)s` must be between %(low)s and %(high)s",
                low=low,
                high=high,
                field=name,
                given=value,
            )
    if request.process_in is not None and request.process_at is not None:
        raise Invalid("Give `process_in` or `process_at`, not both", field="process_at")
    for name in ("process_at", "deadline"):
        value = getattr(request, name)
        if value is not None and value.tzinfo is None:
            raise Invalid("`%(field)s` needs a time zone", field=name)
        if value is not None and not 1970 <= value.year <= 9000:
            raise Invalid("`%(field)s` is between the years 1970 and 9000", field=name)
    is_platform = handler(request.type).name == PLATFORM_RUN
    if is_platform != (request.platform is not None):
        raise Invalid("`platform` and type `platform:run` belong together", field="platform")
    if request.credits and request.user_id is None:
        raise Invalid("`credits` need a `user_id` whose account is charged", field="user_id")


def _check_structure(request: TaskRequest) -> None:
    if request.group is not None:
        if request.after or request.shards is not None:
            raise Invalid(
                "A member of a group neither waits for others nor fans out", field="group"
            )
        if request.limit_key is not None or request.limit is not None:
            raise Invalid(
                "A member of a group has no limit; the task that its group becomes may have one",
                field="limit_key",
            )
        if handler(request.type).aggregate is None:
            raise Invalid(
                "%(type)s declares no aggregate: it cannot be grouped",
                type=request.type,
                field="group",
            )
    if request.after and (request.process_in is not None or request.process_at is not None):
        raise Invalid("A task starts after others or at a time, not both", field="after")
    if len(request.after) > MAX_AFTER:
        raise Invalid(
            "A task waits for at most %(max_after)s others", max_after=MAX_AFTER, field="after"
        )


def _own_id_allowed(name: str) -> bool:
    """Names that would be read as our own ids (task_… , a UUID, a job id) could never be found again."""
    return bool(_OWN_ID.fullmatch(name)) and ids.parse_id(name) == ids.custom_id(1, name)


_OWN_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,128}")  # `..` leads elsewhere in a path
_YEAR_S = 366 * 86_400
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("process_in", -_YEAR_S, _YEAR_S * 10),
    ("max_retries", 0, 1_000),
    ("timeout", 0.001, 2_000_000),
    ("retention", 0, _YEAR_S * 10),
    ("unique_for", 1, _YEAR_S),
    ("credits", 0, 2**53),
    ("user_id", -(2**63), 2**63 - 1),
)


def check_shards(shards: list[Any] | None, found: Handler) -> None:
    if shards is None:
        return
    if not 1 <= len(shards) <= MAX_SHARDS:
        raise Invalid(
            "A task fans out into 1 to %(max_shards)s shards",
            max_shards=MAX_SHARDS,
            given=len(shards),
        )
    target = handler(found.shard_type) if found.shard_type else found
    for shard in shards:
        check_json(shard)
        target.parse(shard)
