"""What docs/platforms.md and docs/credits.md show: the adapter works, and the queries find nothing in right books."""

import json
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from jobs.operations import actions, credits
from jobs.operations.tasks import submit
from jobs.platforms import registry
from jobs.platforms.generic_options import Call, Options, Paths, Submit
from jobs.store import catalog, postgres
from tests.stubs import generic_stub
from tests.support import api
from tests.support.api import data
from tests.support.engine import Hand, balance, dead, failed, row, succeeded
from tests.support.platforms import USER, Pump, fact, fast, pump, register

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["fast", "pump"]
DOCS = Path(__file__).resolve().parents[2] / "docs"


def _blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.req("E-01")
def test_the_adapter_of_the_page_takes_a_task_to_its_end(
    fast: None, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = _blocks("platforms.md", "python")
    made: dict[str, Any] = {}
    exec(compile(code, "platforms.md", "exec"), made)
    protocols = MappingProxyType({**registry.PROTOCOLS, "acme": made["AcmeAdapter"]})
    for module in ("jobs.platforms.registry", "jobs.operations.platform_checks"):
        monkeypatch.setattr(f"{module}.PROTOCOLS", protocols)
    server, app = generic_stub.serve()
    with server:
        register("acme", server.base_url, "acme", credential="tok")
        credits.grant(user_id=USER, amount=100, reason="test", actor="test")
        good, bad = (
            submit("platform:run", {"state": state}, platform="acme", user_id=USER, credits=30)
            for state in ("ok", "bad")
        )
        pump.ends(good, bad)
        assert (row(good.id, "status"), row(bad.id, "status")) == (4, 5)
        endless = submit("platform:run", {}, platform="acme", user_id=USER, credits=30)
        pump.until(lambda: fact(endless, "external_id") is not None)
        actions.cancel(endless.id, actor="test")
        pump.drained()
        assert app.jobs[fact(endless, "external_id")]["job"]["state"] == "off"
    assert balance(USER) == 70


@pytest.mark.req("E-02")
def test_the_generic_platform_of_the_page_works_and_its_table_names_every_option(
    fast: None, pump: Pump
) -> None:
    [shown] = [block for block in _blocks("platforms.md", "sh") if '"generic"' in block]
    body = json.loads(re.search(r"-d '(.*)'", shown, re.DOTALL).group(1))  # type: ignore[union-attr]
    caller = api.client("admin")
    data(caller.post("/platforms", body), 201)
    server, app = generic_stub.serve()
    with server:
        moved = {"base_url": server.base_url, "credential": "tok", "allow_private": True}
        data(caller.patch("/platforms/acme", moved))
        catalog.forget()
        made = submit("platform:run", {"state": "ok"}, platform="acme")
        pump.ends(made)
        assert row(made.id, "status") == 4 and len(app.jobs) == 1
    table = (DOCS / "platforms.md").read_text().partition("| option | meaning |")[2]
    table = table.partition("\n\n")[0]
    for struct in (Options, Call, Submit, Paths):
        for name in struct.__struct_fields__:
            assert f"`{name}`" in table, name


@pytest.mark.req("C-02", "C-03")
def test_the_queries_of_the_page_find_nothing_after_a_mixed_history_and_find_a_forgery() -> None:
    credits.grant(user_id=7, amount=1000, reason="test", actor="test")
    made = [submit("debug:noop", user_id=7, credits=10) for _ in range(6)]
    hand = Hand()
    first, second, third, *rest = hand.claim(5)
    hand.settle([first], succeeded)
    hand.settle([second], failed)
    hand.settle([third, *rest], dead)
    actions.run_now(made[2].id, actor="test")
    actions.cancel(made[5].id, actor="test")
    queries = _blocks("credits.md", "sql")
    assert len(queries) == 7
    for query in queries:
        assert postgres.query(query) == [], query
    postgres.query("UPDATE account SET balance = balance + 1 RETURNING 1")
    assert len(postgres.query(queries[0])) == 1
