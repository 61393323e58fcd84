"""`manage.py generate`: write the files that follow from code; `--check` only compares (CI)."""

import ast
import re
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jobs.domain.states import State, Status
from jobs.domain.transitions import TABLE, Event, Transition, actions, legal
from jobs.lifecycle.diagram import mermaid
from jobs.management.translations import catalogs


class Command(BaseCommand):
    help = "Write generated files (docs/lifecycle.md, docs/conformance.md, the Chinese catalog)"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="fail if a file is not fresh")

    def handle(self, *args: Any, **options: Any) -> None:
        root = Path(settings.BASE_DIR)
        stale = []
        for path, wanted in _files(root).items():
            if path.exists() and path.read_bytes() == wanted:
                continue
            stale.append(str(path.relative_to(root)))
            if not options["check"]:
                path.write_bytes(wanted)
        if stale and options["check"]:
            raise CommandError(f"not fresh, run `make generate`: {', '.join(stale)}")
        self.stdout.write(
            f"{len(stale)} files written" if stale else "all generated files are fresh"
        )


def _files(root: Path) -> dict[Path, bytes]:
    return {
        root / "docs" / "lifecycle.md": lifecycle().encode(),
        root / "docs" / "conformance.md": conformance(root).encode(),
        **catalogs(root),
    }


def lifecycle() -> str:
    """docs/lifecycle.md from the transition table."""
    lines = [
        "# Lifecycle of a task",
        "",
        "Generated from `jobs/domain/transitions.py` by `make generate`; the CHECK constraints of the database,",
        "the console's buttons and the API's 409 answers come from the same table.",
        "",
        "A task has two axes: the **state** says where it is delivered, the **status** how the business sees it.",
        "",
        "```mermaid",
        mermaid().strip(),
        "```",
        "",
        "| event | from | to | status | credits |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        sources = ", ".join(_source(row, s) for s in sorted(row.sources)) or "(new)"
        target = row.target.wire if row.target else "(deleted)"
        status = "unchanged" if row.status is None else row.status.wire
        lines.append(f"| {row.label} | {sources} | {target} | {status} | {row.credits.value} |")
    lines += ["", "## What an operator may do", "", "| state | actions |", "|---|---|"]
    lines += [f"| {name} | {', '.join(may) or 'none'} |" for name, may in _operators()]
    lines += [
        "",
        "A dead letter has failed and was refunded already: it is neither cancelled nor ended again.",
    ]
    return "\n".join(lines) + "\n"


def _source(row: Transition, state: State) -> str:
    if state is State.ARCHIVED and not legal(row.event, state, Status.FAILURE):
        return "archived by hand"
    return state.wire


def _operators() -> Iterator[tuple[str, tuple[Event, ...]]]:
    """Each state and what may be done in it; archived tasks by how they came there."""
    for state in State:
        if state is State.ARCHIVED:
            yield "archived by hand", actions(state, Status.NOT_START)
            yield "archived as a dead letter (FAILURE)", actions(state, Status.FAILURE)
        else:
            yield state.wire, actions(state)


def conformance(root: Path) -> str:
    """docs/conformance.md from the `req` marks of the tests."""
    known = tomllib.loads((root / "docs" / "requirements.toml").read_text())
    proofs = _proofs(root / "tests")
    unknown = sorted(
        {i for i in proofs if _base(i) not in {k for part in known.values() for k in part}}
    )
    if unknown:
        raise CommandError(
            f"tests name requirements that docs/requirements.toml does not have: {unknown}"
        )
    lines = [
        "# Conformance",
        "",
        'Generated from the marks of the tests by `make generate`. "Not yet" means that no test proves it; a line with',
        "tests may still have parts that none of them covers.",
    ]
    for part, ids in known.items():
        lines += ["", f"## {part.capitalize()}", "", "| id | what | tests |", "|---|---|---|"]
        for id_, what in ids.items():
            tests = sorted(t for i, names in proofs.items() if _base(i) == id_ for t in names)
            lines.append(f"| {id_} | {what} | {'<br>'.join(tests) or 'not yet'} |")
    return "\n".join(lines) + "\n"


def _base(requirement: str) -> str:
    return re.sub(r"[a-z]$", "", requirement)


def _proofs(folder: Path) -> dict[str, list[str]]:
    """Requirement id → `file::test` for every test marked itself or by its module's `pytestmark`."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        of_all = [id_ for node in tree.body if _is_pytestmark(node) for id_ in _ids(node)]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_"
            ):
                own = [id_ for decorator in node.decorator_list for id_ in _ids(decorator)]
                for id_ in dict.fromkeys([*own, *of_all]):
                    name = f"`{path.relative_to(folder)}::{node.name}`"
                    found.setdefault(id_, []).append(name)
    return found


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"


def _ids(node: ast.AST) -> list[str]:
    """The arguments of every `mark.req(…)` in it."""
    return [
        str(argument.value)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("mark.req")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]
