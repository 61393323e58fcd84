"""The engine's own tasks in lists: hidden from the console's unless asked for, all there in the API's."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.domain import ids
from jobs.domain.errors import Invalid
from jobs.operations.tasks import Submitted, submit
from jobs.selectors import task_pages, tasks
from jobs.selectors.plans import PlanFilter, matching
from jobs.selectors.task_filters import TaskFilter, Where
from jobs.store import catalog, postgres
from tests.integration.admin_support import client_of, text
from tests.support import api
from tests.support.api import data
from tests.support.engine import Hand, dead

pytestmark = pytest.mark.usefixtures("engine")

LIST = "/admin/jobs/task/"


def own(**options: Any) -> Submitted:
    """A task that only the engine submits."""
    return submit("plan:step", {"plan_id": 1}, queue="low", **options)


def shown(client: Any, query: str = "") -> list[str]:
    return [task.type for task in client.get(LIST + query).context["shown"].items]


@pytest.mark.req("V-03")
def test_the_engines_own_tasks_are_hidden_until_somebody_asks_for_them() -> None:
    root = client_of("root")
    submit("debug:noop")
    own()
    assert shown(root) == ["debug:noop"]
    assert shown(root, "?internal=all") == ["plan:step", "debug:noop"]
    assert shown(root, "?internal=true") == ["plan:step"]
    assert shown(root, "?state=pending") == ["debug:noop"]
    page = root.get(LIST)
    assert [(c.label, c.chosen) for c in page.context["internal"]] == [
        ("hidden", True),
        ("shown", False),
        ("only", False),
    ]
    assert "The numbers on the tabs count them too." in text(page)
    assert "count them too" not in text(root.get(f"{LIST}?internal=all"))


@pytest.mark.req("V-03", "V-07")
def test_who_names_an_internal_task_or_looks_at_dead_letters_sees_it() -> None:
    root = client_of("root")
    own(tags=["odd"])
    assert shown(root, "?type=plan:step") == ["plan:step"]
    assert shown(root, "?q=tag:odd") == ["plan:step"]
    hand = Hand()
    hand.settle(hand.claim(), dead)
    assert shown(root, "?state=archived") == ["plan:step"]
    assert shown(root, "?state=archived&internal=false") == []


@pytest.mark.req("V-03", "A-05")
def test_a_plan_of_the_list_takes_no_task_that_the_list_hides() -> None:
    root = client_of("root")
    own()
    urls = [b.url for b in root.get(f"{LIST}?queue=low").context["bulk"]]
    assert urls
    assert all("internal=false" in url for url in urls)
    assert "no internal tasks" in text(root.get(urls[0]))
    urls = [b.url for b in root.get(f"{LIST}?queue=low&internal=all").context["bulk"]]
    assert all("internal=all" in url for url in urls)
    assert "no internal tasks" not in text(root.get(urls[0]))
    for query in ("", "?internal=true", "?internal=all"):
        assert root.get(LIST + query).context["bulk"] == []
    with pytest.raises(Invalid):
        matching(PlanFilter(internal=False), 1)


@pytest.mark.req("A-02")
def test_the_apis_list_holds_all_unless_asked_for_less() -> None:
    api.forget()
    caller = api.client("read")
    submit("debug:noop")
    own()

    def types(query: str) -> list[str]:
        return [task["type"] for task in data(caller.get(f"/tasks{query}"))["items"]]

    assert types("") == ["plan:step", "debug:noop"]
    assert types("?internal=false") == ["debug:noop"]
    assert types("?internal=true") == ["plan:step"]


@pytest.mark.req("V-15")
def test_the_list_without_internal_tasks_walks_an_index_and_each_page_costs_the_same() -> None:
    made = submit("debug:noop")
    _copies(20_000, of=made.id)
    wanted = TaskFilter(internal=False)
    with CaptureQueriesContext(connection) as first:
        page = tasks.listing(wanted, limit=50)
    assert {task.type for task in page.items} == {"debug:noop"}
    with CaptureQueriesContext(connection) as second:
        tasks.listing(wanted, limit=50, after=page.next_cursor)
    # the page, the planner's estimate, a cheap count, and once a second the catalog's version
    assert max(len(first), len(second)) <= 4
    for query in (first[0], second[0]):
        params = {**Where(wanted, 1).params, "last": ids.parse_id(page.items[-1].task_id)}
        plan = postgres.query(f"EXPLAIN (FORMAT JSON) {query['sql']}", params)[0][0]
        nodes = _reads_no_table_whole(plan[0]["Plan"])
        [page_of_ids] = [node for node in nodes if node.get("Subplan Name") == "CTE page"]
        kinds = {node["Node Type"] for node in _nodes(page_of_ids)}
        assert kinds.isdisjoint({"Sort", "Incremental Sort"}), kinds


@pytest.mark.req("V-15", "A-02")
def test_a_numbered_page_of_a_queue_reads_no_table_whole() -> None:
    made = submit("debug:noop")
    _copies(20_000, of=made.id)
    with CaptureQueriesContext(connection) as asked:
        page = task_pages.page("default", "pending", number=3)
    assert len(page.items) == 20
    [sql] = [query["sql"] for query in asked if "AS MATERIALIZED" in query["sql"]]
    known = catalog.queues().own(1, "default").id
    params = {"tenant": 1, "queue": known, "size": 20, "skipped": 40}
    _reads_no_table_whole(postgres.query(f"EXPLAIN (FORMAT JSON) {sql}", params)[0][0][0]["Plan"])


def _reads_no_table_whole(plan: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = list(_nodes(plan))
    whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert whole.isdisjoint({"task", "task_info", "task_run"}), whole
    return nodes


def _copies(n: int, *, of: Any) -> None:
    """Three of four of them are the engine's own."""
    fresh = [uuid4() for _ in range(n)]
    for table in ("task", "task_info"):
        names = [f.column for f in apps.get_model("jobs", table.replace("_", ""))._meta.fields]
        chosen = ["n.id", *(_TYPE if name == "type" else f"r.{name}" for name in names[1:])]
        postgres.query(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(chosen)}"
            f" FROM {table} r, unnest(%(ids)s::uuid[]) WITH ORDINALITY n(id, nr) WHERE r.id = %(of)s RETURNING 1",
            {"ids": fresh, "of": of},
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE task, task_info")


_TYPE = "CASE n.nr %% 4 WHEN 0 THEN r.type ELSE 'plan:step' END"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
