"""When a schedule is due: cron expressions, aliases such as `@daily`, and `@every 30s`; in a time zone."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from jobs.contract import durations
from jobs.domain.errors import Invalid

_EVERY = re.compile(r"@every\s+(\S+)")
_SHORTEST_S = 1.0
_LONGEST_S = 366 * 86_400.0


def check(cron: str, zone: str) -> None:
    """Raises Invalid naming what is wrong."""
    next_after(cron, zone, datetime(2026, 1, 1, tzinfo=UTC))


def next_after(cron: str, zone: str, after: datetime) -> datetime:
    """The first time strictly after `after`, in UTC. `@every` counts from the epoch, so that all schedulers agree."""
    try:
        local = after.astimezone(ZoneInfo(zone))
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ) as error:
        raise Invalid("There is no time zone '%(zone)s'", zone=zone, field="timezone") from error
    every = _EVERY.fullmatch(cron.strip())
    if every:
        return _next_interval(every.group(1), after)
    try:
        found: datetime = croniter(cron, local).get_next(datetime)
    except (CroniterError, ValueError, KeyError, AttributeError) as error:
        raise Invalid(
            "'%(cron)s' is no cron expression: %(reason)s",
            cron=cron,
            reason=str(error),
            field="cron",
        ) from error
    return found.astimezone(UTC)


def _next_interval(text: str, after: datetime) -> datetime:
    try:
        step_s = durations.seconds(text)
    except ValueError as error:
        raise Invalid(
            "@every %(text)s: %(reason)s", text=text, reason=str(error), field="cron"
        ) from error
    if not _SHORTEST_S <= step_s <= _LONGEST_S:
        raise Invalid("@every takes 1 second to 366 days", field="cron")
    count = int(after.timestamp() // step_s) + 1
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=count * step_s)
