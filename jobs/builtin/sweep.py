"""`sweep:collect`: the small balances of many users are collected into one account, in shards."""

from typing import Annotated, Any
from uuid import UUID

import msgspec

from jobs.domain import ids
from jobs.domain.errors import Invalid
from jobs.domain.outcomes import SkipRetry
from jobs.handlers import Context, task
from jobs.operations import sweeps

Amount = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Balances from 1 to `at_most` go to user `into`; a shard looks at `shard_size` accounts."""

    into: int
    at_most: Amount
    shard_size: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 500
    reason: Reason = "sweep"


class Shard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The accounts with ids beyond `above`, up to and with `upto`."""

    into: int
    at_most: Amount
    above: int
    upto: int
    reason: Reason


def _check(payload: Sweep, _tenant_id: int) -> None:
    sweeps.target(payload.into)


def _shards(payload: Sweep) -> list[dict[str, Any]]:
    return [
        {
            "into": payload.into,
            "at_most": payload.at_most,
            "above": above,
            "upto": upto,
            "reason": payload.reason,
        }
        for above, upto in sweeps.ranges(payload.shard_size)
    ]


def _total(parent: UUID) -> dict[str, int]:
    done = sweeps.collected(parent)
    return {"accounts": done.accounts, "amount": done.amount}


@task(
    "sweep:collect",
    queue="low",
    scope="admin",
    shards=_shards,
    shard_type="sweep:shard",
    check=_check,
    total=_total,
)
def collect(payload: Sweep) -> None:
    """Fans out at submit over the accounts that there are; ends with its shards, its result their sums."""


@task("sweep:shard", queue="low", timeout_s=60.0, internal=True)
def shard(payload: Shard, context: Context) -> dict[str, int]:
    """One range in one transaction; a second run of the same task finds its entries and moves nothing."""
    try:
        done = sweeps.collect(
            ids.parse_id(context.task_id),
            into=payload.into,
            above=payload.above,
            upto=payload.upto,
            at_most=payload.at_most,
            reason=payload.reason,
        )
    except Invalid as error:
        raise SkipRetry(str(error)) from error
    context.log.info("collected", accounts=done.accounts, amount=done.amount)
    return {"accounts": done.accounts, "amount": done.amount}
