"""What is kept of a platform's answer: its words, its result, the reason of an end, the part it billed."""

import math

from jobs.lifecycle.polling import Decision, Step
from jobs.lifecycle.texts import result_problem
from jobs.operations.platforms import PlatformSettings
from jobs.platforms import base


def word(answer: base.PollResult) -> object:
    """What is kept of an answer: the platform's own words, also where it knows nothing of the task."""
    if isinstance(answer, base.NotFound):
        return {"not_found": answer.reason}
    return getattr(answer, "answer", None)


def refund(credits: int, billed: float | None, settings: PlatformSettings) -> int | None:
    """Credits to pay back when the platform billed a part, rounded in the user's favour; None: all of them."""
    if billed is None or settings.config.options.get("partial_refund") is False:
        return None
    return math.ceil(credits * (1 - max(0.0, min(1.0, billed))))


def is_worth_a_line(decision: Decision, answer: base.PollResult) -> bool:
    if decision.step is Step.EXPIRE:  # its reason says all
        return False
    return decision.step in (Step.CONTACT, Step.PARK) or isinstance(answer, base.Unrecognised)


def reason(decision: Decision, answer: base.PollResult, words: str | None) -> str | None:
    """Why it ended: the platform's own words, after ours where we had to decide. None: ours alone."""
    if decision.step is Step.EXPIRE:
        last = words or getattr(answer, "raw_status", None)
        if isinstance(answer, base.Unrecognised):
            last = repr(answer.raw_status)
        return f"time limit; the platform's last word: {last}" if last else None
    if decision.step is not Step.FAIL or words is None:
        return None
    return f"{decision.reason}: {words}" if isinstance(answer, base.NotFound) else words


def result(answer: base.PollResult) -> object:
    """A success' result, or why it cannot be kept: too large a result is no failure of the task."""
    if not isinstance(answer, base.Succeeded):
        return None
    problem = result_problem(answer.result)
    return answer.result if problem is None else {"not_kept": problem}
