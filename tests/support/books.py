"""The books as an outsider reads them: by SQL on a connection of its own, and from the stub platform's log.

`check_books` knows nothing of the application's code; the numbers below are the schema's.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

CHARGE, REFUND = 2, 3
SUCCESS, FAILURE, CANCELLED = 4, 5, 9
ARCHIVED, COMPLETED = 5, 6
LEASE_S, SWEEP_S = 9, 1

_UNFINISHED = "SELECT id::text FROM task WHERE state NOT IN (5, 6) LIMIT 20"
# Ledger rows per (task, cycle): what was taken, given back, by the system and by hand.
_MONEY = """
SELECT e.task_id::text, e.cycle, count(*) FILTER (WHERE e.kind = 2), count(*) FILTER (WHERE e.kind = 3),
  -coalesce(sum(e.amount) FILTER (WHERE e.kind = 2), 0), coalesce(sum(e.amount) FILTER (WHERE e.kind = 3), 0),
  t.state, t.status, t.credits, t.cycle = e.cycle, t.id IS NULL
FROM credit_entry e LEFT JOIN task t ON t.id = e.task_id
WHERE e.task_id IS NOT NULL GROUP BY e.task_id, e.cycle, t.id
"""
_UNCHARGED = """
SELECT t.id::text FROM task t WHERE t.credits > 0 AND NOT EXISTS
  (SELECT 1 FROM credit_entry e WHERE e.task_id = t.id AND e.kind = 2 AND e.cycle = t.cycle)
"""
_BALANCES = """
SELECT a.id, a.balance, coalesce(sum(e.amount), 0) FROM account a LEFT JOIN credit_entry e ON e.account_id = a.id
GROUP BY a.id HAVING a.balance <> coalesce(sum(e.amount), 0) OR a.balance < 0
"""
# One run ends a task: the accepted writes of a (task, token) are one, and one success is the last word.
_DOUBLE_WRITES = """
SELECT task_id::text, token, count(*) FROM task_run GROUP BY task_id, token HAVING count(*) > 1
"""
_DOUBLE_RESULTS = """
SELECT r.task_id::text, count(*) FROM task_run r WHERE r.kind = 1 GROUP BY r.task_id HAVING count(*) > 1
"""
_STALE_TOKENS = """
SELECT r.task_id::text, r.token, t.token FROM task_run r JOIN task t ON t.id = r.task_id WHERE r.token > t.token
"""
_STALE_LEASES = """
SELECT t.id::text, w.id FROM task t LEFT JOIN worker w ON w.id = t.worker_id
WHERE t.state = 2 AND (w.id IS NULL OR w.dead_at < clock_timestamp() - %(sweeps)s * interval '1 second'
  OR w.dead_at IS NULL AND w.beat_at < clock_timestamp() - (%(lease)s + %(sweeps)s) * interval '1 second')
"""
_RECOUNT = """
SELECT queue_id, metric, sum(n) FROM (
  SELECT queue_id, metric, n FROM queue_stat WHERE metric < 8
  UNION ALL SELECT queue_id, metric, n FROM stat_delta WHERE metric < 8
  UNION ALL SELECT queue_id, state, -count(*) FROM task GROUP BY 1, 2) x
GROUP BY 1, 2 HAVING sum(n) <> 0
"""
_LEAKED_LOCKS = """
SELECT u.task_id::text FROM unique_lock u LEFT JOIN task t ON t.id = u.task_id
WHERE u.until > clock_timestamp() AND (t.id IS NULL OR t.state IN (5, 6))
"""
_ENDED = "SELECT id::text, status, finished_at::text, token, cycle FROM task WHERE state = 6"


@dataclass(kw_only=True)
class Books:
    """Opened before the faults; `seen` are the ends that were read so far."""

    url: str
    seen: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def ask(self, sql: str, params: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def unfinished(self) -> int:
        """How many tasks have come to no end (a dead letter is one here)."""
        return int(self.ask("SELECT count(*) FROM task WHERE state NOT IN (5, 6)")[0][0])

    def look_at_ends(self) -> list[str]:
        """Remember what has ended by now; returns I7 violations against what was remembered."""
        now = {row[0]: row[1:] for row in self.ask(_ENDED)}
        moved = [f"I7 {id_} left its end" for id_, was in self.seen.items() if now.get(id_) != was]
        self.seen |= now
        return moved

    def check(
        self, *, accepted: Iterable[str] = (), created: Collection[str] = (), finished: bool = True
    ) -> list[str]:
        """Every violation of I1 to I9, and of counters and unique locks; an empty list is the pass.

        `accepted`: the task ids (UUID text) of all 2xx answers. `created`: our reference of each task that the
        stub platform created, one entry per creation. `finished=False`: tasks may still be under way.
        """
        found = [*self._rows(list(accepted)), *self._money(finished), *self._runs(created)]
        found += self.look_at_ends()
        if finished:
            found += [f"I2 {row[0]} has not ended" for row in self.ask(_UNFINISHED)]
            found += [f"counters of queue {q}, metric {m}: off by {n}" for q, m, n in self._drift()]
            found += [f"lock of {row[0]} leaked" for row in self.ask(_LEAKED_LOCKS)]
        stale = self.ask(_STALE_LEASES, {"lease": LEASE_S, "sweeps": 2 * SWEEP_S + 1})
        return found + [f"I9 {row[0]} under silent worker {row[1]}" for row in stale]

    def deadlocks(self) -> int:
        return int(
            self.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[
                0
            ][0]
        )

    def _drift(self) -> list[tuple[Any, ...]]:
        return self.ask(_RECOUNT)

    def _rows(self, accepted: list[str]) -> list[str]:
        known = {row[0] for row in self.ask("SELECT id::text FROM task")} if accepted else set()
        missing = [f"I1 {id_} was accepted and is gone" for id_ in accepted if id_ not in known]
        twice = [f"I1 {id_} answered {n} submits" for id_, n in Counter(accepted).items() if n > 1]
        return missing + twice

    def _money(self, finished: bool) -> list[str]:
        found = [f"I3 {row[0]} was not charged" for row in self.ask(_UNCHARGED)]
        for row in self.ask(_MONEY):
            found += _entries(*row, finished=finished)
        found += [f"I5 account {a}: {b}, entries {s}" for a, b, s in self.ask(_BALANCES)]
        return found

    def _runs(self, created: Collection[str]) -> list[str]:
        found = [f"I8 {t} token {n} written {c} times" for t, n, c in self.ask(_DOUBLE_WRITES)]
        found += [f"I8 {t} succeeded {c} times" for t, c in self.ask(_DOUBLE_RESULTS)]
        found += [f"I8 {t}: run {a} above token {b}" for t, a, b in self.ask(_STALE_TOKENS)]
        counted = Counter(created).items()
        return found + [f"I6 {ref} was created {n} times" for ref, n in counted if n > 1]


def _entries(
    task_id: str,
    cycle: int,
    charges: int,
    refunds: int,
    taken: int,
    given: int,
    state: int,
    status: int,
    credits: int,
    is_present: bool,
    is_gone: bool,
    *,
    finished: bool,
) -> list[str]:
    """What is wrong with the ledger of one task and run-through."""
    name = f"{task_id} cycle {cycle}"
    found = []
    if charges != 1:
        found.append(f"I3 {name}: {charges} charges")
    if refunds > 1 or given > taken:
        found.append(f"I4 {name}: {refunds} refunds, {given} of {taken}")
    if not is_present or is_gone:
        return found
    if taken != credits:
        found.append(f"I3 {name}: {taken} taken for {credits}")
    if status == SUCCESS and refunds:
        found.append(f"I4 {name}: delivered and refunded")
    if state in (ARCHIVED, COMPLETED) and status in (FAILURE, CANCELLED) and not refunds:
        found.append(f"I4 {name}: failed and not refunded")
    if refunds and status not in (FAILURE, CANCELLED) and (finished or state != COMPLETED):
        found.append(f"I4 {name}: refunded in status {status}")
    return found


def url_of(database: str) -> str:
    """The tests' server, with the name of a database on it."""
    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{database}"
