"""What a worker's death under a task means for the task."""

from enum import StrEnum

from jobs.contract.reader import contract


class Verdict(StrEnum):
    AGAIN = "again"
    SOLO = "solo"
    DEAD = "dead"


def after_crash(crashes: int, *, seen_alone: bool) -> Verdict:
    """`crashes` includes this one; `seen_alone`: a living parent saw this task's own child die.

    Only a solo crash convicts; at the contract's `most_at` the task is dead in any case.
    """
    limits = contract().poison
    if crashes >= limits.most_at or (seen_alone and crashes >= limits.dead_at):
        return Verdict.DEAD
    return Verdict.SOLO if runs_solo(crashes) else Verdict.AGAIN


def runs_solo(crashes: int) -> bool:
    """Whether a task with so many crashes runs alone in the process lane, whatever its own lane."""
    return crashes >= contract().poison.solo_at
