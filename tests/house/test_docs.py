"""The documents say what is there: links, anchors, commands, variables, tests, addresses and code."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from django.core.management import get_commands
from django.urls import resolve

from jobs.contract.reader import contract
from jobs.handlers.registry import handler, public_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GENERATED = {ROOT / "docs" / "lifecycle.md", ROOT / "docs" / "conformance.md"}

names = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _prose(page: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def _anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.req("M-02")
def test_every_alert_has_its_heading_in_the_runbook() -> None:
    wanted = {alert.runbook for alert in contract().all_alerts()}
    assert wanted - _anchors(ROOT / "docs" / "runbook.md") == set()


@names
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if file in GENERATED:
            continue
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name}: {target}"


@names
def test_every_command_exists(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = "\n".join(_blocks(page, "sh", "bash") + re.findall(r"`([^`\n]+)`", _prose(page)))
    assert set(re.findall(r"(?:^|[`(])make ([a-z][\w-]*)", lines, re.MULTILINE)) - targets == set()
    commands = set(re.findall(r"(?:manage\.py|taskcenter\.devstack manage) ([a-z][\w-]*)", text))
    assert commands - set(get_commands()) == set()


@pytest.mark.req("D-05")
@names
def test_every_verb_of_the_command_line_exists(page: Path) -> None:
    used = re.findall(
        r"manage(?:\.py)? (tasks|queues|workers|ledger|tenants|keys) (\w+)", page.read_text()
    )
    for noun, verb in used:
        source = (ROOT / "jobs" / "management" / "commands" / f"{noun}.py").read_text()
        assert re.search(rf'add\("{verb}"', source), f"{page.name}: manage.py {noun} {verb}"


@names
def test_every_address_is_one_of_ours(page: Path) -> None:
    text = re.sub(r"<[^<>\n]*>|\{[^{}\n]*\}", "1", page.read_text())
    for address in set(re.findall(r"/(?:admin/jobs|api/v1)/[\w/.-]*", text)):
        route = resolve(address).route
        assert "<path:rest>" not in route, f"{page.name}: {address}"
        assert "(?P<url>" not in route, f"{page.name}: {address}"


@names
def test_every_test_that_is_named_exists(page: Path) -> None:
    if page in GENERATED:
        return  # compared by `generate --check`
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / file).exists(), f"{page.name}: {file}"
        if name:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{page.name}: {file}::{name}"


@pytest.mark.req("D-03")
def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    listed = re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE)
    documented = set(listed)
    assert len(listed) == len(documented), "one is listed twice"
    read = _read("taskcenter/settings.py") | _read("taskcenter/devstack/options.py")
    assert read - documented == set(), "not in docs/deployment.md"
    assert documented - read == set(), "read nowhere"


def _read(path: str) -> set[str]:
    """Names of the variables that a file reads through `env.…(name, …)`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("env."):
            count = 2 if ast.unparse(node.func) == "env.redis_url" else 1
            texts = [arg.value for arg in node.args[:count] if isinstance(arg, ast.Constant)]
            found |= {text for text in texts if isinstance(text, str) and text.isupper()}
    return found - {"WrongValue"}


@pytest.mark.req("D-03")
def test_variables_marked_as_files_are_those_that_may_be_files() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    marked = set(re.findall(r"^\| `([A-Z_]+)` \(file\)", page, re.MULTILINE))
    kinds = r"env\.(?:url|secret|secrets|named_secrets|fernet_keys|redis_url)\(\s*\"([A-Z_]+)\""
    assert marked == set(re.findall(kinds, (ROOT / "taskcenter" / "settings.py").read_text()))


def test_the_code_of_the_handlers_page_runs_and_its_tests_pass() -> None:
    code = "\n".join(_blocks(ROOT / "docs" / "handlers.md", "python"))
    tests = re.findall(r"^def (test_\w+)\(", code, re.MULTILINE)
    assert tests
    program = "import django; django.setup()\n" + code + "".join(f"\n{name}()" for name in tests)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.req("S-09")
def test_the_payloads_of_the_built_in_types_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "handlers.md").read_text().partition("## The handlers that come")[2]
    rows = re.findall(r"^\| `([\w:]+)`[^|]*\| ([^|]*) \|", page.partition("\n## ")[0], re.MULTILINE)
    told = dict(rows)
    own = {n for n in public_names() if handler(n).function.__module__.startswith("jobs.builtin")}
    assert own - {"platform:run"} <= told.keys()
    for name, cell in told.items():
        type_ = handler(name).payload_type
        if not isinstance(type_, type) or not issubclass(type_, msgspec.Struct):
            assert cell == "anything", name
            continue
        fields = msgspec.structs.fields(type_)
        assert re.findall(r"`(\w+)`", cell) == [field.name for field in fields], name
        if name.startswith("debug:"):
            for field in fields:
                default = msgspec.json.encode(field.default).decode()
                assert re.search(rf"`{field.name}` \(`?{re.escape(default)}`?[;,)]", cell), name


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_code_of_the_readme_runs(name: str) -> None:
    for code in _blocks(ROOT / name, "python"):
        done = subprocess.run(
            [sys.executable, "-c", "import django; django.setup()\n" + code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def test_both_readmes_have_the_same_links_and_commands() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"
    assert _blocks(english, "sh", "python") == _blocks(chinese, "sh", "python")
    targets = [
        set(re.findall(r"\]\((docs/[^)]+)\)", page.read_text().replace("images/zh-", "images/")))
        for page in (english, chinese)
    ]
    assert targets[0] == targets[1]


def test_no_requirement_is_named_that_there_is_none_of() -> None:
    known = {
        id_
        for part in tomllib.loads((ROOT / "docs" / "requirements.toml").read_text()).values()
        for id_ in part
    }
    for page in PAGES:
        named = set(re.findall(r"\b([QSXPRECBAVMTGDF]-\d\d)[a-z]?\b", page.read_text()))
        assert named - known == set(), page.name


@pytest.mark.req("Q-03")
def test_the_lifecycle_tells_a_dead_letter_from_what_was_archived_by_hand() -> None:
    text = (ROOT / "docs" / "lifecycle.md").read_text()
    assert "| archived by hand | cancel, redrive, delete |" in text
    assert "| archived as a dead letter (FAILURE) | redrive, delete |" in text
    [cancel] = [line for line in text.splitlines() if line.startswith("| cancel |")]
    assert "archived by hand" in cancel
