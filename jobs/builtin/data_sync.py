"""`data:sync`: copy what is new or changed in a named table of another database into `synced_row`."""

import time
from typing import Annotated

import msgspec

from jobs.domain.errors import Invalid, Misconfigured, TooLarge
from jobs.domain.outcomes import Poll, SkipRetry
from jobs.domain.states import Status
from jobs.handlers import Context, task
from jobs.operations import sync_sources, syncing

_RUN_S = 900.0
_RESERVE_S = 60.0
_NEXT_S = 0.1


class Sync(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`source`: a name in the file of TASKCENTER_SYNC_SOURCES. `max_batches`: pieces per run; further runs follow."""

    source: str
    max_batches: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


def _check(payload: Sync, _tenant_id: int) -> None:
    sync_sources.named(payload.source)


@task(
    "data:sync",
    queue="critical",
    timeout_s=_RUN_S,
    unique_for_s=3600.0,
    scope="operate",
    check=_check,
)
def sync(payload: Sync, context: Context) -> dict[str, int]:
    """Copy until nothing is new, in runs of `max_batches` pieces. A crash repeats one piece, which changes nothing.

    Raises SkipRetry for a source that is described wrongly; one that cannot be reached is tried again.
    """
    until_s = time.monotonic() + _budget_s(context)
    try:
        done = syncing.copy(
            payload.source,
            most_batches=payload.max_batches,
            stop=lambda: context.cancelled or time.monotonic() > until_s,
        )
    except (Invalid, Misconfigured, TooLarge) as error:
        raise SkipRetry(str(error)) from error
    context.log.info("synced", source=payload.source, rows=done.rows, changed=done.changed)
    if not done.finished:
        raise Poll(Status.IN_PROGRESS, after_s=_NEXT_S)
    return {"rows": done.rows, "changed": done.changed}


def _budget_s(context: Context) -> float:
    """How long a run goes on, well before it would be stopped."""
    left_s = _RUN_S if context.left_s is None else min(context.left_s, _RUN_S)
    return max(left_s - _RESERVE_S, left_s / 2)


sync_sources.sources()  # a wrong file stops the start
