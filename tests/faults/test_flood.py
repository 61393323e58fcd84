"""A flood of ten times a queue's capacity (F21)."""

import statistics
import threading
from collections import Counter

import httpx
import pytest

from jobs.operations import keys, queues
from tests.support.books import Books
from tests.support.load import Fleet, sized
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

_WAITS = """
SELECT extract(epoch FROM t.started_at - i.created_at)::float8 FROM task t JOIN task_info i ON i.id = t.id
WHERE i.business_id = %(who)s
"""


class Caller:
    """Posts single tasks and counts the answers; `hasty`: refusals without a Retry-After."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20
        )
        self.codes: Counter[int] = Counter()
        self.hasty = 0
        self.ids: list[str] = []

    def post(self, queue: str, seconds: float, who: str) -> None:
        body = {
            "type": "debug:sleep",
            "payload": {"seconds": seconds},
            "queue": queue,
            "business_id": who,
        }
        answer = self._client.post("/api/v1/tasks", json=body)
        self.codes[answer.status_code] += 1
        if answer.status_code == 201:
            self.ids.append(answer.json()["data"]["task_id"])
        elif int(answer.headers.get("Retry-After", "0")) < 1:
            self.hasty += 1


@pytest.mark.req("F21", "B-01")
def test_a_flood_is_refused_with_a_time_to_come_back_and_harms_no_other_queue(
    processes: Processes, books: Books
) -> None:
    capacity = sized(40, 100)
    queues.configure("low", capacity=capacity)
    fleet = Fleet(processes, 1)
    fleet.ready()
    url = processes.web()
    key = keys.create(name="faults", scopes=["submit"]).key
    quiet = Caller(url, key)
    for _ in range(20):
        quiet.post("high", 0.01, "before")
    done = threading.Event()

    def flood(caller: Caller) -> None:
        while not done.is_set():
            caller.post("low", 0.2, "flood")  # more than eight slots can take

    floods = [Caller(url, key) for _ in range(4)]
    threads = [threading.Thread(target=flood, args=(caller,)) for caller in floods]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(c.codes.total() for c in floods) > 2 * capacity, 30)
    during = Caller(url, key)
    for _ in range(20):
        during.post("high", 0.01, "during")
    eventually(
        lambda: (
            sum(c.codes.total() for c in floods) >= 10 * capacity
            and sum(c.codes[429] for c in floods) > 0
        ),
        60,
    )
    done.set()
    for thread in threads:
        thread.join(30)
    codes = sum((caller.codes for caller in floods), Counter[int]())
    assert set(codes) <= {201, 429, 503}
    assert codes[429] > 0
    assert sum(caller.hasty for caller in floods) == 0
    assert during.codes == {201: 20}
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert books.check() == []
    kept = {row[0] for row in books.ask("SELECT count(*) FROM task WHERE status = 4")}
    assert kept == {codes[201] + 40}
    before, after = _p95(books, "before"), _p95(books, "during")
    assert after <= max(2 * before, 0.5)  # half a second of noise on a shared machine


def _p95(books: Books, who: str) -> float:
    waits = [float(row[0]) for row in books.ask(_WAITS, {"who": who})]
    return statistics.quantiles(waits, n=20)[-1]
