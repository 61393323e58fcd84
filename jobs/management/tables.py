"""Tables and lines for terminals: plain text in, nothing of it taken for markup or control codes."""

import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from django.core.management.base import OutputWrapper
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

Shown: TypeAlias = Table | str

PIPED_WIDTH = 200


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Numbers stand to the right, None is a dash."""
    listed = [list(row) for row in rows]
    made = Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for nr, name in enumerate(columns):
        numeric = any(_is_number(row[nr]) for row in listed)
        justify: JustifyMethod = "right" if numeric else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=nr == 0)
    for row in listed:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def record(title: str, facts: dict[str, Any]) -> Table:
    """Names and values, one under the other; what is empty is left out."""
    kept = [(name, cell(value)) for name, value in facts.items() if value not in (None, "", [], {})]
    return table(title, ("field", "value"), kept)


def width(out: OutputWrapper) -> int:
    """Characters per line: as wide as the terminal, or as a pipe's reader likes it."""
    return shutil.get_terminal_size().columns if out.isatty() else PIPED_WIDTH


def show(out: OutputWrapper, *shown: Shown) -> None:
    """Print one after the other."""
    console = Console(file=out, width=width(out), highlight=False)  # type: ignore[arg-type]
    for one in shown:
        console.print(Text(cell(one)) if isinstance(one, str) else one)


def cell(value: Any) -> str:
    """A value as one cell's text; what could steer a terminal is replaced."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case int():
            return f"{value:,}"
        case list() | tuple():
            return ", ".join(cell(one) for one in value) or "-"
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(value)
    )


def first_line(text: str | None, most: int = 60) -> str:
    """The first line of an error, shortened."""
    line = (text or "").strip().partition("\n")[0]
    return line if len(line) <= most else line[: most - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
