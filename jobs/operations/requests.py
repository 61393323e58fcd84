"""What a caller may say of a task, checked and turned into a row. The same struct for Python and REST."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings

from jobs.contract.reader import contract
from jobs.domain import ids
from jobs.domain.errors import Invalid, QueueFull, TooLarge
from jobs.domain.states import Lane
from jobs.handlers.registry import PLATFORM_RUN, Handler, handler
from jobs.models.tasks import Flag
from jobs.store import catalog

MAX_SHARDS = 10_000
MAX_AFTER = 100
MAX_TAGS = 32
MAX_HEADERS = 32


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Durations are seconds. An option given here wins over the handler's default."""

    type: str
    payload: Any = {}
    queue: str | None = None
    process_in: float | None = None
    process_at: datetime | None = None
    front: bool = False
    max_retries: int | None = None
    timeout: float | None = None
    deadline: datetime | None = None
    retention: int | None = None
    unique_for: float | None = None
    unique_key: str | None = None
    group: str | None = None
    tags: list[str] = []
    business_id: str | None = None
    user_id: int | None = None
    trace_id: str | None = None
    headers: dict[str, str] = {}
    task_id: str | None = None
    priority: int | str | None = None
    platform: str | None = None
    credits: int = 0
    callback_url: str | None = None
    idempotency_key: str | None = None
    after: list[str] = []
    shards: list[Any] | None = None


class Prepared(msgspec.Struct, kw_only=True):
    """A valid request as the row it is to become; `index` is its place in the caller's batch."""

    index: int
    request: TaskRequest
    id: UUID
    handler: Handler
    lane: Lane
    queue: catalog.QueueRow
    tenant_id: int
    payload_json: str
    options_json: str
    flags: int
    credits: int
    timeout_ms: int | None
    retention_s: int
    max_retries: int
    body_hash: str
    lock_key: str | None = None
    lock_for_s: float = 0.0
    account_id: int | None = None
    parent_id: UUID | None = None
    waits: bool = False
    shards: list[Any] | None = None
    children: list["Prepared"] = []
    internal: bool = False
    predecessors: list[UUID] = []
    platform: catalog.PlatformRow | None = None

    @property
    def public_id(self) -> str:
        return self.request.task_id or ids.public_id(self.id)


def prepare(
    request: TaskRequest, *, index: int = 0, tenant_id: int = 1, limited: bool = True
) -> Prepared:
    """Check everything that needs no lock. Raises the error that the caller is to see.

    `limited=False`: what follows from an end or an operator's action passes a full queue.
    """
    found = handler(request.type)
    queue = _queue(request, found, limited, tenant_id)
    platform = catalog.platform(request.platform, tenant_id) if request.platform else None
    if platform is not None and platform.name != request.platform:
        request = msgspec.structs.replace(request, platform=platform.name)
    _check_options(request)
    payload_json = check_json(request.payload)
    parsed = found.parse(request.payload) if request.shards is None else None
    shards = request.shards
    if shards is None and found.shards is not None:
        shards = found.shards(parsed)
    _check_shards(shards, found)
    task_id = ids.custom_id(tenant_id, request.task_id) if request.task_id else ids.new_id()
    prepared = Prepared(
        index=index,
        request=request,
        id=task_id,
        handler=found,
        lane=found.lane if parsed is None else found.lane_of(parsed),
        queue=queue,
        tenant_id=tenant_id,
        payload_json=payload_json,
        options_json=_options(request),
        flags=_flags(request, found),
        platform=platform,
        credits=_price(request, platform),
        timeout_ms=_timeout_ms(request, found),
        retention_s=_retention_s(request, found),
        max_retries=_first(request.max_retries, found.policy.max_retries),
        body_hash=_body_hash(request),
        shards=shards,
        waits=shards is not None,
    )
    if request.group is not None:
        prepared.parent_id = ids.group_id(tenant_id, queue.name, found.name, request.group)
        prepared.flags |= Flag.GROUPED
        prepared.waits = (request.process_in or 0) <= 0 and request.process_at is None
    if shards is not None:
        if request.after or request.group is not None or platform is not None:
            raise Invalid(
                "A task that fans out neither waits for others nor runs on a platform",
                field="shards",
            )
        prepared.flags |= Flag.PARENT
        prepared.children = [_child(prepared, payload) for payload in shards]
    _lock(prepared)
    return prepared


def _child(parent: Prepared, payload: object) -> Prepared:
    """A shard as a task of its own; it is free, its parent was charged."""
    kept = parent.request
    request = TaskRequest(
        type=parent.handler.shard_type or kept.type,
        payload=payload,
        queue=kept.queue,
        priority=kept.priority,
        process_in=kept.process_in,
        process_at=kept.process_at,
        max_retries=kept.max_retries,
        timeout=kept.timeout,
        deadline=kept.deadline,
        retention=kept.retention,
        tags=kept.tags,
        business_id=kept.business_id,
        user_id=kept.user_id,
        trace_id=kept.trace_id,
        headers=kept.headers,
    )
    child = prepare(request, index=-1, tenant_id=parent.tenant_id, limited=False)
    child.parent_id = parent.id
    child.shards, child.children, child.waits = None, [], False
    child.flags &= ~Flag.PARENT
    return child


def check_json(value: Any) -> str:
    """The value as JSON text; raises TooLarge or Invalid for what may not be stored."""
    limit = int(settings.TASKCENTER["MAX_PAYLOAD_BYTES"])
    _walk(value, int(settings.TASKCENTER["MAX_PAYLOAD_DEPTH"]))
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as error:
        raise Invalid(f"The payload is not JSON: {error}") from error
    if len(text) > limit:
        raise TooLarge(
            f"The payload has {len(text)} bytes, at most {limit} are allowed", limit_bytes=limit
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
        raise Invalid("The payload holds a number that JSON does not have (NaN or infinity)")
    elif isinstance(value, int):
        if value.bit_length() > 256:
            raise Invalid("The payload holds a number of more than 256 bits")
    elif isinstance(value, float) and abs(value) >= 1e77:
        raise Invalid("The payload holds a number too large to be kept as it is")
    elif value is not None and not isinstance(value, float):
        raise Invalid(f"The payload holds a {type(value).__name__}, which JSON does not have")


def check_text(text: str) -> None:
    """Refuse what PostgreSQL cannot store: NUL and lone surrogates."""
    if "\x00" in text:
        raise Invalid("Text must not contain NUL (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("Text must not contain lone surrogates") from error


def _queue(request: TaskRequest, found: Handler, limited: bool, tenant_id: int) -> catalog.QueueRow:
    name = request.queue
    if name is None and request.priority is not None:
        name = contract().queue_for_priority(request.priority)
    name = name if name is not None else found.queue
    row = catalog.queues().own(tenant_id, name)
    if row.name == catalog.DEAD_LETTER:
        raise Invalid("Nothing can be submitted to dead_letter", queue=name)
    if row.level >= 2 and limited:
        raise QueueFull(f"Queue {name} is at its capacity; try again later", queue=name)
    return row


def _check_options(request: TaskRequest) -> None:
    texts = (
        request.business_id,
        request.trace_id,
        request.unique_key,
        request.task_id,
        request.idempotency_key,
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
        raise Invalid(f"At most {MAX_TAGS} tags and {MAX_HEADERS} headers are allowed")
    _check_structure(request)
    _check_headers(request.headers)
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
            raise Invalid(f"`{name}` must be between {low:g} and {high:g}", field=name, given=value)
    if request.process_in is not None and request.process_at is not None:
        raise Invalid("Give `process_in` or `process_at`, not both")
    for name in ("process_at", "deadline"):
        value = getattr(request, name)
        if value is not None and value.tzinfo is None:
            raise Invalid(f"`{name}` needs a time zone", field=name)
        if value is not None and not 1970 <= value.year <= 9000:
            raise Invalid(f"`{name}` is between the years 1970 and 9000", field=name)
    is_platform = handler(request.type).name == PLATFORM_RUN
    if is_platform != (request.platform is not None):
        raise Invalid("`platform` and type `platform:run` belong together", field="platform")
    if request.credits and request.user_id is None:
        raise Invalid("`credits` need a `user_id` whose account is charged", field="user_id")


def _check_headers(headers: dict[str, str]) -> None:
    """They go out with callbacks: names are HTTP tokens, values have no control characters."""
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable():
            raise Invalid(f"Header {name!r} cannot be sent", field="headers")


_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


def _check_structure(request: TaskRequest) -> None:
    if request.group is not None:
        if request.after or request.shards is not None:
            raise Invalid(
                "A member of a group neither waits for others nor fans out", field="group"
            )
        if handler(request.type).aggregate is None:
            raise Invalid(
                f"{request.type} declares no aggregate: it cannot be grouped", field="group"
            )
    if request.after and (request.process_in is not None or request.process_at is not None):
        raise Invalid("A task starts after others or at a time, not both", field="after")
    if len(request.after) > MAX_AFTER:
        raise Invalid(f"A task waits for at most {MAX_AFTER} others", field="after")


def _own_id_allowed(name: str) -> bool:
    """Names that would be read as our own ids (task_… , a UUID, a job id) could never be found again."""
    return bool(_OWN_ID.fullmatch(name)) and ids.parse_id(name) == ids.custom_id(1, name)


_OWN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
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


def _check_shards(shards: list[Any] | None, found: Handler) -> None:
    if shards is None:
        return
    if not 1 <= len(shards) <= MAX_SHARDS:
        raise Invalid(f"A task fans out into 1 to {MAX_SHARDS} shards", given=len(shards))
    target = handler(found.shard_type) if found.shard_type else found
    for shard in shards:
        check_json(shard)
        target.parse(shard)


def _options(request: TaskRequest) -> str:
    kept = {
        "group": request.group,
        "headers": request.headers,
        "callback_url": request.callback_url,
        "front": request.front,
    }
    return msgspec.json.encode({name: value for name, value in kept.items() if value}).decode()


def _price(request: TaskRequest, platform: catalog.PlatformRow | None) -> int:
    """The platform's price if it has one; the client's figure is a proposal (C-02)."""
    if platform is None or platform.price is None:
        return request.credits
    if platform.price and request.user_id is None:
        raise Invalid("This platform has a price: name the `user_id` to charge", field="user_id")
    return platform.price


def _flags(request: TaskRequest, found: Handler) -> int:
    flags = Flag(0)
    if request.callback_url:
        flags |= Flag.CALLBACK
    if found.name == PLATFORM_RUN:
        flags |= Flag.PLATFORM
    return int(flags)


def _timeout_ms(request: TaskRequest, found: Handler) -> int | None:
    given = _first(request.timeout, found.timeout_s)
    if given is None and (request.deadline is None or found.lane is not Lane.ASYNC):
        given = float(settings.TASKCENTER["RUN_TIMEOUT_S"])
    return None if given is None else max(1, round(given * 1000))


def _retention_s(request: TaskRequest, found: Handler) -> int:
    return int(_first(request.retention, found.retention_s, settings.TASKCENTER["RETENTION_S"]))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _body_hash(request: TaskRequest) -> str:
    """What makes two bodies the same for an idempotency key; the trace id is not part of what is asked."""
    asked = msgspec.structs.replace(request, trace_id=None)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def _lock(prepared: Prepared) -> None:
    """The unique lock's key: the caller's, or (queue, type, payload); S-05."""
    request, found = prepared.request, prepared.handler
    window_s = _first(request.unique_for, found.unique_for_s)
    if window_s is None and request.unique_key is None:
        return
    if window_s is None:
        window_s = float(contract().defaults.unique_window_s)
    basis = (
        request.unique_key
        or msgspec.json.encode(
            [prepared.queue.name, found.name, request.payload], order="deterministic"
        ).decode()
    )
    kind = "key" if request.unique_key else "body"
    digest = hashlib.sha256(f"{kind}:{basis}".encode()).hexdigest()
    prepared.lock_key = f"{prepared.tenant_id}:{digest}"
    prepared.lock_for_s = window_s
    options = msgspec.json.decode(prepared.options_json)
    options["lock"] = [prepared.lock_key, window_s]  # a redrive takes it again
    prepared.options_json = msgspec.json.encode(options).decode()
    prepared.flags |= Flag.UNIQUE
