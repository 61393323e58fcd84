"""Periodic tasks: the rows are the truth, a unique tick makes one task, whoever asks and however often."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from django.db import DataError, IntegrityError, transaction

from jobs.domain.errors import Conflict, Invalid, NotFound, TaskCenterError, UnknownType
from jobs.handlers.registry import public_handler
from jobs.lifecycle import cron as clock
from jobs.models import Schedule, ScheduleTick
from jobs.operations.planned_types import PERIODIC
from jobs.operations.preparing import prepare
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import Submitted, submit_request
from jobs.store import catalog, postgres, sealed

log = structlog.get_logger("schedules")

MISSED = ("skip", "once")
LATE_S = 30.0
TICKS_KEPT = 1000
_A_PASS = 100
_FIELDS = ("name", "cron", "timezone", "type", "payload", "options", "missed", "enabled")


def create(*, tenant_id: int = 1, **given: Any) -> Schedule:
    """A new schedule; `name`, `cron` and `type` are needed. Raises Invalid, Conflict (name taken)."""
    for name in ("name", "cron", "type"):
        if not given.get(name):
            raise Invalid("A schedule needs `%(field)s`", field=name)
    schedule = Schedule(tenant_id=tenant_id)
    with transaction.atomic():
        if Schedule.objects.filter(tenant_id=tenant_id, name=given["name"]).exists():
            raise Conflict(
                "There is a schedule '%(name)s' already", field="name", name=given["name"]
            )
        _apply(schedule, given)
        schedule.save(force_insert=True)
    return schedule


def change(schedule_id: int, *, tenant_id: int | None = None, **given: Any) -> Schedule:
    """Change the fields given. Raises NotFound, Invalid, Conflict."""
    with transaction.atomic():
        schedule = _locked(schedule_id, tenant_id)
        others = Schedule.objects.filter(tenant_id=schedule.tenant_id, name=given.get("name"))
        if "name" in given and others.exclude(pk=schedule.pk).exists():
            raise Conflict(
                "There is a schedule '%(name)s' already", field="name", name=given["name"]
            )
        _apply(schedule, given)
        schedule.save()
    return schedule


def put(*, tenant_id: int = 1, name: str, **given: Any) -> tuple[Schedule, bool]:
    """The schedule of this name with these fields, made if there is none: (it, whether it is new).

    Raises Invalid, Conflict (somebody else made it at this moment).
    """
    found = Schedule.objects.filter(tenant_id=tenant_id, name=name).values_list("pk", flat=True)
    with transaction.atomic():
        for pk in found:
            return change(pk, tenant_id=tenant_id, **given), False
        try:
            with transaction.atomic():
                return create(tenant_id=tenant_id, name=name, **given), True
        except IntegrityError as error:
            raise Conflict("There is a schedule '%(name)s' already", name=name) from error


def check_submit(type_: str, payload: Any, *, tenant_id: int = 1) -> None:
    """Whether a schedule could submit this. Raises Invalid and what else a submit raises."""
    prepare(_decoded(type_, payload, {}), tenant_id=tenant_id)


def pause(schedule_id: int, *, tenant_id: int | None = None) -> None:
    """No more ticks until it is resumed. Raises NotFound."""
    change(schedule_id, tenant_id=tenant_id, enabled=False)


def resume(schedule_id: int, *, tenant_id: int | None = None) -> None:
    """Ticks again, from its next time on. Raises NotFound."""
    change(schedule_id, tenant_id=tenant_id, enabled=True)


def delete(schedule_id: int, *, tenant_id: int | None = None) -> None:
    """Remove it with its ticks; tasks that it made go on. Raises NotFound."""
    with transaction.atomic():
        schedule = _locked(schedule_id, tenant_id)
        ScheduleTick.objects.filter(schedule_id=schedule.pk).delete()
        schedule.delete()


def run_now(
    schedule_id: int, *, tenant_id: int | None = None, actor: str | None = None
) -> Submitted:
    """One task at once, whatever its times; listed among its ticks. Raises NotFound and what a submit raises."""
    with transaction.atomic():
        schedule = _locked(schedule_id, tenant_id)
        made = submit_request(
            _request(schedule, None), tenant_id=schedule.tenant_id, actor=actor or _name(schedule)
        )
        postgres.query(
            "INSERT INTO schedule_tick (schedule_id, tick_at, task_id, outcome)"
            " VALUES (%s, clock_timestamp(), %s, 'run by hand') RETURNING 1",
            [schedule.pk, made.id],
        )
    return made


def tick() -> int:
    """Make the tasks of all due schedules, by the database's clock; returns how many. Any number of callers."""
    made = 0
    for _ in range(_A_PASS):
        with transaction.atomic():
            rows = postgres.query(
                "SELECT id, clock_timestamp() FROM schedule WHERE enabled AND next_at <= (SELECT clock_timestamp())"
                " ORDER BY next_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
            )
            if not rows:
                break
            made += _tick_one(Schedule.objects.get(pk=rows[0][0]), rows[0][1])
    return made


def _tick_one(schedule: Schedule, now: datetime) -> int:
    due = schedule.next_at
    if due is None:
        return 0
    late = now - due > timedelta(seconds=LATE_S)
    following = clock.next_after(schedule.cron, schedule.timezone, now if late else due)
    skipped = late and schedule.missed == "skip"
    Schedule.objects.filter(pk=schedule.pk).update(next_at=following, last_at=due)
    taken = postgres.query(
        "INSERT INTO schedule_tick (schedule_id, tick_at, outcome) VALUES (%s, %s, %s)"
        " ON CONFLICT (schedule_id, tick_at) DO NOTHING RETURNING id",
        [schedule.pk, due, "missed" if skipped else "submitted"],
    )
    if late:
        log.warning(
            "ticks missed", schedule=schedule.name, due=due.isoformat(), policy=schedule.missed
        )
    if not taken or skipped:
        return 0
    made = _submit(schedule, due, taken[0][0])
    _forget_old_ticks(schedule.pk)
    return made


def _submit(schedule: Schedule, due: datetime, tick_id: int) -> int:
    """A refused submit is noted on its tick; the schedule goes on."""
    try:
        with transaction.atomic():
            made = submit_request(
                _request(schedule, due),
                tenant_id=schedule.tenant_id,
                internal=True,
                actor=_name(schedule),
            )
    except (TaskCenterError, IntegrityError, DataError) as error:
        code = error.code if isinstance(error, TaskCenterError) else type(error).__name__
        log.warning("tick refused", schedule=schedule.name, code=code, error=str(error).strip())
        ScheduleTick.objects.filter(pk=tick_id).update(outcome=f"refused: {code}")
        return 0
    ScheduleTick.objects.filter(pk=tick_id).update(task_id=made.id)
    return 1


def _name(schedule: Schedule) -> str:
    return f"schedule:{schedule.name}"[:512]


def _request(schedule: Schedule, due: datetime | None) -> TaskRequest:
    key = None if due is None else f"schedule:{schedule.pk}:{due.timestamp():.3f}"
    options = {
        "tags": [_name(schedule)],
        **sealed.opened_headers(schedule.options),
        "idempotency_key": key,
    }
    return _decoded(schedule.type, sealed.opened_value(schedule.payload), options)


def _decoded(type_: str, payload: Any, options: Mapping[str, Any]) -> TaskRequest:
    try:
        return msgspec.convert({**options, "type": type_, "payload": payload}, TaskRequest)
    except msgspec.ValidationError as error:
        raise Invalid(
            "The options do not fit a submit: %(reason)s", reason=str(error), field="options"
        ) from error


def _apply(schedule: Schedule, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in _FIELDS:
            raise Invalid("A schedule has no field `%(name)s`", name=name, known=_FIELDS)
        setattr(schedule, name, value)
    if schedule.missed not in MISSED:
        raise Invalid("`missed` is skip or once", field="missed", given=schedule.missed)
    if schedule.type == PERIODIC:
        raise Invalid("A schedule makes tasks, not schedules", field="type")
    if not public_handler(schedule.type).own and schedule.tenant_id != catalog.DEFAULT_TENANT:
        raise UnknownType("No handler is registered for task type '%(type)s'", type=schedule.type)
    clock.check(schedule.cron, schedule.timezone)
    payload = schedule.payload if "payload" in given else sealed.opened_value(schedule.payload)
    options = schedule.options if "options" in given else sealed.opened_headers(schedule.options)
    prepare(_decoded(schedule.type, payload, options), tenant_id=schedule.tenant_id)
    schedule.payload = sealed.close_value(payload)
    schedule.options = sealed.close_headers(options)
    if not schedule.enabled:
        schedule.next_at = None
    elif schedule.next_at is None or {"cron", "timezone"} & set(given):
        [(now,)] = postgres.query("SELECT clock_timestamp()")
        schedule.next_at = clock.next_after(schedule.cron, schedule.timezone, now)


def _locked(schedule_id: int, tenant_id: int | None) -> Schedule:
    found = Schedule.objects.select_for_update(no_key=True).filter(pk=schedule_id)
    schedule = (found if tenant_id is None else found.filter(tenant_id=tenant_id)).first()
    if schedule is None:
        raise NotFound("There is no such schedule", schedule=schedule_id)
    return schedule


def _forget_old_ticks(schedule_id: int) -> None:
    postgres.query(
        "DELETE FROM schedule_tick WHERE schedule_id = %s AND id <= (SELECT id FROM schedule_tick"
        " WHERE schedule_id = %s ORDER BY id DESC OFFSET %s LIMIT 1) RETURNING 1",
        [schedule_id, schedule_id, TICKS_KEPT],
    )
