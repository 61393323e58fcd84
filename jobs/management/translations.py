"""The texts for translation, found in code and templates without a system gettext; the catalog, fresh and compiled."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polib
from django.utils.translation.template import templatize

from jobs.contract.reader import contract
from jobs.domain import errors
from jobs.domain.errors import TaskCenterError
from jobs.domain.states import State

CATALOG = Path("locale") / "zh_Hans" / "LC_MESSAGES" / "django.po"
_PACKAGES = ("jobs", "queues_admin", "taskcenter")
_PLURALS = {"ngettext", "ngettext_lazy"}
_CALLS = {"_", "gettext", "gettext_lazy", "gettext_noop", *_PLURALS}
# What these raise is about the start or the command line: English, as logs are.
_ENGLISH = ("migration", "management", "worker", "contract", "builtin", "devstack")
_TEXT = r"((?:'(?:[^'\\]|\\.)*')|(?:\"(?:[^\"\\]|\\.)*\"))"
_IN_TEMPLATES = re.compile(rf"(?:gettext\(u|_\(){_TEXT}")
_PLURAL_IN_TEMPLATES = re.compile(rf"ngettext\(u{_TEXT},\s*u{_TEXT}")
_PLACE = re.compile(r"%\((\w+)\)s")
_ERRORS = {
    name
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, TaskCenterError)
} - {"Misconfigured"}


def catalogs(root: Path) -> dict[Path, bytes]:
    """The catalog as it should be, and what Django reads of it."""
    po = fresh(root)
    return {
        root / CATALOG: f"{po}\n".encode(),
        (root / CATALOG).with_suffix(".mo"): po.to_binary(),
    }


def fresh(root: Path) -> polib.POFile:
    """An empty entry for each new text, none for what nobody shows any more."""
    old = polib.pofile(str(root / CATALOG), wrapwidth=10_000)
    new = polib.POFile(wrapwidth=10_000)
    new.metadata = old.metadata
    many = plurals(root)
    for text, files in sorted(msgids(root).items(), key=lambda item: (item[1][0], item[0])):
        known = old.find(text)
        entry = polib.POEntry(
            msgid=text,
            **_translated(known, many.get(text)),
            occurrences=[(name, "") for name in files],
            flags=["python-format"] if "%(" in text else [],
        )
        new.append(entry)
    return new


def _translated(known: polib.POEntry | None, plural: str | None) -> dict[str, Any]:
    """Chinese has one form for all numbers."""
    if plural is None:
        return {"msgstr": known.msgstr if known else ""}
    forms = known.msgstr_plural if known and known.msgstr_plural else {0: ""}
    return {"msgid_plural": plural, "msgstr_plural": forms}


def plurals(root: Path) -> dict[str, str]:
    """The text for one → the text for every other number."""
    found = {}
    for _, tree, _refusals in _python(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node.func) in _PLURALS:
                found[ast.literal_eval(node.args[0])] = str(ast.literal_eval(node.args[1]))
    for path in sorted((root / "templates").rglob("*.html")):
        code = templatize(path.read_text(), origin=str(path))
        for one, many in _PLURAL_IN_TEMPLATES.findall(code):
            found[ast.literal_eval(one)] = str(ast.literal_eval(many))
    return found


def msgids(root: Path) -> dict[str, list[str]]:
    """Every English text that people are shown → the files that hold it."""
    found: dict[str, list[str]] = {}
    for path, texts in _sources(root):
        for text in texts:
            files = found.setdefault(text, [])
            if path not in files:
                files.append(path)
    return found


def built(root: Path) -> list[str]:
    """`file:line` of messages to people that are put together in code: nobody can translate them.

    A refusal's message names its values (`%(name)s`) and passes them as details; others use `_("…") % {…}`.
    """
    found = []
    for path, tree, refusals in _python(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_built(node, refusals):
                found.append(f"{path}:{node.lineno}")
    return found


def _is_built(call: ast.Call, refusals: bool) -> bool:
    name = _name(call.func)
    refusal = refusals and name in _ERRORS
    said = [k.value for k in call.keywords if k.arg in ("message", "label", "help_text")]
    if refusal or name in {*_CALLS, "ValidationError"}:
        said += call.args[:1]
    elif isinstance(call.func, ast.Attribute) and _name(call.func.value) == "messages":
        said += call.args[1:2]  # django.contrib.messages
    if any(isinstance(text, ast.JoinedStr) for text in said):
        return True
    if not refusal or not call.args or not isinstance(call.args[0], ast.Constant):
        return refusal and bool(call.args) and isinstance(call.args[0], ast.BinOp)
    given = {k.arg for k in call.keywords}
    named = set(_PLACE.findall(str(call.args[0].value)))
    return not named <= given and None not in given


def _python(root: Path) -> Iterator[tuple[Path, ast.AST, bool]]:
    """Every file of ours, and whether what it refuses is said to people who may read another language."""
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if "migrations" not in path.parts:
                known = path.relative_to(root)
                yield known, ast.parse(path.read_text()), not set(known.parts) & set(_ENGLISH)


def _sources(root: Path) -> Iterator[tuple[str, list[str]]]:
    for known, tree, refusals in _python(root):
        yield str(known), list(_code(tree, refusals=refusals))
    for path in sorted((root / "templates").rglob("*.html")):
        code = templatize(path.read_text(), origin=str(path))
        texts = [ast.literal_eval(text) for text in _IN_TEMPLATES.findall(code)]
        yield str(path.relative_to(root)), texts
    yield "jobs/domain/states.py", [state.wire.capitalize() for state in State]
    yield "jobs/contract/contract.toml", [alert.summary for alert in contract().all_alerts()]


def _code(tree: ast.AST, *, refusals: bool) -> Iterator[str]:
    """The arguments of gettext's calls, what errors say by themselves, what they are given to say."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and _is_error(node):
            yield (ast.get_docstring(node) or "").strip().splitlines()[0]
        elif isinstance(node, ast.Call) and node.args:
            name, first = _name(node.func), node.args[0]
            wanted = name in _CALLS or (refusals and name in _ERRORS)
            if wanted and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _is_error(node: ast.ClassDef) -> bool:
    """It has a `code` of its own, as every error of the tree does."""
    targets = [t for part in node.body if isinstance(part, ast.Assign) for t in part.targets]
    targets += [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
    named = any(isinstance(t, ast.Name) and t.id == "code" for t in targets)
    return named and any(_name(base) in {*_ERRORS, "Exception"} for base in node.bases)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
