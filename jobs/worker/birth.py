"""How a worker enters the books, and what it says of itself there."""

import os
import random
import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from jobs.domain.errors import RedisUnavailable
from jobs.lifecycle import redis_versions
from jobs.operations import workers
from jobs.selectors import secrets as stored
from jobs.store import redis, secrets
from jobs.worker import db
from jobs.worker.heartbeat import stats

if TYPE_CHECKING:
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")


def be_born(engine: "Engine", *, check: bool) -> int:
    """A fresh worker id; waits for the database. Raises UnknownQueue (`check`)."""
    tries = 0
    while True:
        try:
            if check:
                engine.served.check()
            return workers.register(engine.options.name, {**_facts(engine), **stats(engine)})
        except db.DOWN as error:
            log.warning("waiting for the database", error=str(error).strip())
            db.reset()
            tries += 1
            time.sleep(min(5.0, 0.2 * 2 ** min(tries, 6)) * random.uniform(0.5, 1.0))


def settings_in_force(engine: "Engine") -> dict[str, object]:
    """For the line that says the worker is up; nothing secret in it."""
    return {
        "worker": engine.options.name,
        "worker_id": engine.worker_id,
        "queues": engine.served.names(),
        "concurrency": engine.slots.concurrency,
        "redis": engine.uses_redis,
        "update_task": settings.UPDATE_TASK,
        "poll_interval_s": settings.TASK_POLL_INTERVAL,
        "stop_grace_s": engine.grace_s,
    }


def warn_of_redis(engine: "Engine") -> None:
    """A server that is too old or has a known hole, or may throw tickets away: nothing is lost then, much late."""
    if not engine.uses_redis:
        return
    try:
        facts = redis.facts()
    except RedisUnavailable:
        return
    version, policy = str(facts.get("redis_version", "")), str(facts.get("maxmemory_policy", ""))
    if redis_versions.too_old(facts):
        log.error("REDIS IS TOO OLD: at least 6.2 is needed", redis_version=version)
    elif redis_versions.has_hole(facts):
        log.warning("this Redis has a known hole in Lua: update it", redis_version=version)
    if policy not in ("", "noeviction"):
        log.error(
            "REDIS MAY EVICT TICKETS: set maxmemory-policy to noeviction", maxmemory_policy=policy
        )


def warn_of_keys() -> None:
    """What it cannot open it puts off again and again, until a worker with the key takes it."""
    found = stored.unopened()
    if found is not None and found.here:
        log.error("KEYS ARE MISSING: stored secrets cannot be opened", count=found.here)


def _facts(engine: "Engine") -> dict[str, object]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": version("rq"),
        "strict": engine.options.strict,
        "keys": secrets.key_ids(),
    }
