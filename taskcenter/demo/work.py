"""The demo's work: what a small shop would hand to its task center, about one task a second."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from django.contrib.auth import get_user_model

from jobs.domain.errors import InsufficientCredits, QueueFull, TaskCenterError
from jobs.operations import credits
from jobs.operations.tasks import submit
from taskcenter.demo import ports

log = structlog.get_logger("demo")

PLATFORM = "demo-replicate"
USER_PREFIX = "demo-"
MAX_USERS = 200
TOP_UP = 10_000
PRICE = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Chore:
    """`weight`: how often, against the others."""

    weight: int
    do: Callable[[random.Random], object]


def one(dice: random.Random) -> None:
    """Submit one random piece of work. A full queue or a short account is no trouble; it is said and left."""
    chore = dice.choices(CHORES, weights=[c.weight for c in CHORES])[0]
    try:
        chore.do(dice)
    except QueueFull as error:
        log.warning("demo work refused", reason=str(error))
    except TaskCenterError as error:
        log.error("demo work failed", reason=str(error))


def register_user(dice: random.Random) -> object:
    """Somebody registers (or comes back, when there are enough users) and gets a mail."""
    users = get_user_model().objects
    name = f"{USER_PREFIX}{dice.randrange(MAX_USERS):03d}"
    user, created = users.get_or_create(username=name, defaults={"email": f"{name}@example.com"})
    if created:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return submit(
        "email:deliver",
        {"user_id": user.pk, "template": "welcome" if created else "reminder"},
        user_id=user.pk,
        tags=["registration" if created else "reminder"],
        process_in=0 if created else dice.randrange(5, 60),
    )


def call_back(dice: random.Random) -> object:
    path = dice.choices(["/ok", "/flaky", "/gone"], weights=[90, 8, 2])[0]
    order = f"order-{dice.randrange(10_000)}"
    return submit(
        "http:callback",
        {"url": ports.url("CALLBACK") + path, "body": {"order": order, "status": "paid"}},
        business_id=order,
        tags=["order"],
    )


def report(dice: random.Random) -> object:
    name = dice.choice(["tasks_by_day", "credits_by_account", "dead_letters"])
    return submit(
        "report:generate",
        {"name": name, "params": {"days": 7}},
        unique_for=60,
        unique_key=f"report {name}",
    )


def generate_image(dice: random.Random) -> object:
    """A charged task on the platform: mostly well, some slow, some failing, some with a shaky line."""
    user_id = 1_000 + dice.randrange(1, 6)
    given: dict[str, Any] = {
        "prompt": "a task queue in watercolours",
        "seconds": dice.randrange(2, 15),
    }
    fates: list[dict[str, Any]] = [
        {},
        {"seconds": 45},
        {"outcome": "failed"},
        {"flap": True},
        {"outcome": "canceled"},
    ]
    given |= dice.choices(fates, weights=[70, 10, 8, 10, 2])[0]
    payload = {
        "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        "input": given,
    }
    for _ in range(2):
        try:
            return submit(
                "platform:run",
                payload,
                platform=PLATFORM,
                user_id=user_id,
                credits=PRICE,
                queue="scheduled",
            )
        except InsufficientCredits:
            credits.grant(user_id=user_id, amount=TOP_UP, reason="demo top-up", actor="demo")
    return None


def data_sync(dice: random.Random) -> object:
    return submit(
        "debug:sleep", {"seconds": round(dice.uniform(0.05, 2.0), 2)}, queue="high", tags=["sync"]
    )


def shaky(dice: random.Random) -> object:
    """Fails once or twice and then works; now and then it never does, and ends in the dead letters."""
    times = dice.choices([1, 2, 10], weights=[60, 30, 10])[0]
    return submit(
        "debug:fail", {"times": times, "error": "upstream timeout"}, max_retries=3, tags=["shaky"]
    )


CHORES = (
    Chore(weight=30, do=register_user),
    Chore(weight=25, do=call_back),
    Chore(weight=20, do=generate_image),
    Chore(weight=15, do=data_sync),
    Chore(weight=4, do=shaky),
    Chore(weight=2, do=report),
)
