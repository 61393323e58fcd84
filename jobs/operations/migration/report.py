"""The report: a JSON line per source row, each row once, and totals that add up."""

import fcntl
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from jobs.domain.errors import Conflict
from jobs.operations.migration.rows import Action, Fate

ALREADY = "already migrated"
_MOST_GROUPS = 500
_REST = "(others)"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`refund`: credits that the migration paid back for this row, in this run or an earlier one."""

    source_id: int
    action: str
    reason: str
    task_id: str | None = None
    refund: int = 0


@dataclass(kw_only=True)
class Totals:
    """What became of all rows. `groups` counts by (platform, status, action)."""

    rows: int = 0
    already: int = 0
    refunded: int = 0
    refunds: int = 0
    groups: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def moved(self) -> int:
        """Rows that became tasks in this run."""
        actions = self.actions()
        return actions.get(Action.ENQUEUE, 0) + actions.get(Action.FAIL_REFUND, 0) - self.already

    def add(self, fate: Fate, line: Line) -> None:
        self.rows += 1
        self.already += line.reason == ALREADY
        self.refunds += line.refund > 0
        self.refunded += line.refund
        group = (fate.platform, fate.status, line.action)
        if group not in self.groups and len(self.groups) >= _MOST_GROUPS:
            group = (_REST, _REST, line.action)
        self.groups[group] += 1

    def actions(self) -> dict[str, int]:
        """Rows per action, in the order of the actions."""
        return {
            a.value: n
            for a in Action
            if (n := sum(c for g, c in self.groups.items() if g[2] == a.value))
        }


class Report:
    """Writes beside the file and puts it in its place when all rows are in: a report is whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._file = self._part.open("ab", buffering=1 << 20)
        self._own()
        self._encode = msgspec.json.Encoder().encode
        self._whole = False

    def _own(self) -> None:
        """One writer per report; what a killed one left behind is overwritten. Raises Conflict."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._file.fileno()), self._part.stat()):
                raise FileNotFoundError  # the other one put it in its place a moment ago
        except (BlockingIOError, FileNotFoundError) as error:
            self._file.close()
            raise Conflict(f"Another process is writing the report {self._path}") from error
        self._file.truncate(0)

    def write(self, line: Line) -> None:
        self._file.write(self._encode(line) + b"\n")

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)
        self._whole = True

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._whole:
            self._part.unlink(missing_ok=True)
