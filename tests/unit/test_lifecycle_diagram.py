"""The diagram is drawn from the table, so it can't say anything else."""

import pytest

from jobs.domain.states import State
from jobs.domain.transitions import TABLE
from jobs.lifecycle.diagram import mermaid, table


@pytest.mark.req("Q-05")
def test_every_event_and_every_state_is_in_the_diagram() -> None:
    drawn = mermaid()
    assert drawn.startswith("stateDiagram-v2\n")
    for row in TABLE:
        assert row.event.value.replace("_", " ") in drawn
    for state in State:
        assert f" --> {state.wire}:" in drawn or f"    {state.wire} --> " in drawn


@pytest.mark.req("Q-05")
def test_the_arrows_are_exactly_the_tables_pairs() -> None:
    arrows = {
        tuple(line.strip().split(":")[0].split(" --> "))
        for line in mermaid().splitlines()[1:]
        if line
    }
    wanted = set()
    for row in TABLE:
        target = row.target.wire if row.target else "[*]"
        wanted |= {(state.wire, target) for state in row.sources} or {("[*]", target)}
    assert {pair for pair in arrows if len(pair) == 2} == wanted


@pytest.mark.req("Q-05")
def test_the_markdown_table_has_a_line_per_event() -> None:
    lines = table().strip().splitlines()
    assert len(lines) == 2 + len(TABLE)
    assert all(line.count("|") == 7 for line in lines)
