"""`cleanup:expired`: remove what outlived its retention, in bounded passes."""

from typing import Annotated

import msgspec

from jobs.handlers import Context, task
from jobs.operations import duties

_RESERVE_S = 5.0


class Cleanup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_passes` batches of the prune duty at most; what is left stays for the next run."""

    max_passes: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


@task("cleanup:expired", queue="low", timeout_s=600.0, scope="operate")
def expired(payload: Cleanup, context: Context) -> dict[str, object]:
    """Prune until nothing is left, the passes are used up, or the run is asked to stop or short of time."""
    removed = passes = 0
    finished = False
    while passes < payload.max_passes and not context.cancelled and not _short(context):
        count = duties.prune()
        passes += 1
        removed += count
        if count == 0:
            finished = True
            break
    context.log.info("cleaned", removed=removed, passes=passes, finished=finished)
    return {"removed": removed, "passes": passes, "finished": finished}


def _short(context: Context) -> bool:
    return context.left_s is not None and context.left_s < _RESERVE_S
