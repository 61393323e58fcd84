"""A request becomes the row it is to be: checked, priced, with its queue, limits and locks. No lock is taken here."""

import math
from typing import Any

import msgspec
from django.conf import settings

from jobs.contract.reader import contract
from jobs.domain import ids
from jobs.domain.errors import Invalid, QueueFull
from jobs.domain.limits import check_key, limit_of
from jobs.domain.states import Lane
from jobs.handlers.registry import PLATFORM_RUN, Handler, handler
from jobs.models.tasks import Flag
from jobs.operations.checks import check_json, check_options, check_shards, check_text
from jobs.operations.requests import Prepared, TaskRequest
from jobs.store import catalog, sealed


def prepare(
    request: TaskRequest,
    *,
    index: int = 0,
    tenant_id: int = 1,
    limited: bool = True,
    actor: str | None = None,
) -> Prepared:
    """Check everything that needs no lock. Raises the error that the caller is to see.

    `limited=False`: what follows from an end or an operator's action passes a full queue and its handler's check.
    """
    found = handler(request.type)
    queue = _queue(request, found, limited, tenant_id)
    platform = catalog.platform(request.platform, tenant_id) if request.platform else None
    if platform is not None and platform.name != request.platform:
        request = msgspec.structs.replace(request, platform=platform.name)
    check_options(request)
    payload_json = check_json(request.payload)
    parsed = found.parse(request.payload) if request.shards is None else None
    if limited and found.check is not None and parsed is not None:
        found.check(parsed, tenant_id)
    shards = request.shards
    if shards is None and found.shards is not None:
        shards = found.shards(parsed)
    check_shards(shards, found)
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
        options_json=_options(request, actor),
        flags=_flags(request, found),
        platform=platform,
        credits=_price(request, platform),
        timeout_ms=_timeout_ms(request, found),
        retention_s=_retention_s(request, found),
        max_retries=_first(request.max_retries, found.policy.max_retries),
        body_hash=_body_hash(request),
        shards=shards,
        waits=shards is not None,
        actor=actor,
    )
    if request.group is None and shards is None:
        _limit(prepared, parsed)
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
        prepared.children = [_child(prepared, payload, limited) for payload in shards]
    _lock(prepared)
    return prepared


def _child(parent: Prepared, payload: object, limited: bool) -> Prepared:
    """A shard as a task of its own; it is free, its parent was charged. A full queue refuses it like its parent."""
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
        limit_key=kept.limit_key,
        limit=kept.limit,
    )
    child = prepare(
        request, index=-1, tenant_id=parent.tenant_id, limited=limited, actor=parent.actor
    )
    child.parent_id = parent.id
    child.shards, child.children, child.waits = None, [], False
    child.flags &= ~Flag.PARENT
    return child


def _limit(prepared: Prepared, parsed: Any) -> None:
    """Its limit's key and what is said of the limit; a parent's is its shards', a member of a group has none."""
    request, found = prepared.request, prepared.handler
    key = request.limit_key if request.limit_key is not None else found.limit_key_of(parsed)
    limit = _first(request.limit, found.limit)
    if key is None:
        if request.limit is not None:
            raise Invalid("`limit` needs a `limit_key`: name what it counts", field="limit_key")
        return
    check_text(check_key(key))
    prepared.limit_key = key
    prepared.limit = None if limit is None else limit_of(limit)
    prepared.flags |= Flag.LIMITED
    options = msgspec.json.decode(prepared.options_json)
    options["limit_key"] = key  # shown with the task, also when the key is forgotten
    prepared.options_json = msgspec.json.encode(options).decode()


def _queue(request: TaskRequest, found: Handler, limited: bool, tenant_id: int) -> catalog.QueueRow:
    name = request.queue
    if name is None and request.priority is not None:
        name = _queue_for(request.priority)
    name = name if name is not None else found.queue
    known = catalog.queues()
    row = known.removed(tenant_id, name) or known.own(tenant_id, name)
    if row.name == catalog.DEAD_LETTER:
        raise Invalid("Nothing can be submitted to dead_letter", queue=name)
    if row.level >= 2 and limited:
        raise QueueFull("Queue %(queue)s is at its capacity; try again later", queue=name)
    return row


def _queue_for(priority: int | str) -> str:
    """The contract's queue for a priority; its refusal in words that can be translated."""
    try:
        return contract().queue_for_priority(priority)
    except Invalid as error:
        details = {**error.details, "priority": priority}
        raise Invalid("There is no priority '%(priority)s'", **details) from None


def _options(request: TaskRequest, actor: str | None) -> str:
    kept = {
        "group": request.group,
        "headers": sealed.close_value(request.headers) if request.headers else None,
        "callback_url": request.callback_url,
        "front": request.front,
        "actor": actor,
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
    given = _first(request.retention, found.retention_s, settings.TASKCENTER["RETENTION_S"])
    return math.ceil(float(given))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _body_hash(request: TaskRequest) -> str:
    """What makes two bodies the same for an idempotency key; the trace id is not part of what is asked."""
    asked = msgspec.structs.replace(request, trace_id=None)
    return sealed.digest(msgspec.json.encode(asked, order="deterministic"))


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
    digest = sealed.digest(f"{kind}:{basis}".encode())
    prepared.lock_key = f"{prepared.tenant_id}:{digest}"
    prepared.lock_for_s = window_s
    options = msgspec.json.decode(prepared.options_json)
    options["lock"] = [prepared.lock_key, window_s]  # a redrive takes it again
    prepared.options_json = msgspec.json.encode(options).decode()
    prepared.flags |= Flag.UNIQUE
