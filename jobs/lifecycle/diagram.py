"""The lifecycle as a Mermaid diagram, drawn from the transition table."""

from collections.abc import Iterator

from jobs.domain.states import State
from jobs.domain.transitions import TABLE, Credits, Transition

_OUTSIDE = "[*]"


def mermaid() -> str:
    """A `stateDiagram-v2`: one arrow per pair of states, labelled with its events."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in TABLE:
        for pair in _pairs(row):
            arrows.setdefault(pair, []).append(_label(row))
    lines = ["stateDiagram-v2"]
    lines += [
        f"    {source} --> {target}: {' · '.join(arrows[source, target])}"
        for source, target in arrows
    ]
    return "\n".join(lines) + "\n"


def table() -> str:
    """The same as a Markdown table: event, from, to, status, credits, by whom."""
    lines = ["| event | from | to | status | credits | by |", "|---|---|---|---|---|---|"]
    for row in TABLE:
        sources = ", ".join(state.wire for state in State if state in row.sources) or "-"
        cells = (
            row.label,
            sources,
            row.target.wire if row.target else "deleted",
            row.status.wire if row.status is not None else "",
            "" if row.credits is Credits.KEEP else row.credits.value,
            "operator" if row.operator else "system",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _pairs(row: Transition) -> Iterator[tuple[str, str]]:
    target = row.target.wire if row.target else _OUTSIDE
    if not row.sources:
        yield _OUTSIDE, target
    for state in State:
        if state in row.sources:
            yield state.wire, target


def _label(row: Transition) -> str:
    return row.event.value.replace("_", " ")
