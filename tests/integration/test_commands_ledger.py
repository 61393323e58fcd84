"""`manage.py ledger`: the reconciler and monthly statements (C-03)."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from jobs.operations import actions, credits
from jobs.operations.tasks import submit
from jobs.selectors import statements
from jobs.store import postgres
from tests.support.cli import run, run_json

pytestmark = pytest.mark.usefixtures("engine")


def _month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


def _spend() -> str:
    """User 7: 100 granted, 40 charged, 30 charged and paid back."""
    credits.grant(user_id=7, amount=100, reason="=1+1", actor="test")
    submit("debug:noop", {}, user_id=7, credits=40)
    task = submit("debug:noop", {}, user_id=7, credits=30)
    actions.cancel(task.id, reason="not wanted", actor="test")
    return task.task_id


@pytest.mark.req("C-03", "D-05")
def test_right_books_are_said_to_be_right() -> None:
    _spend()
    credits.grant(user_id=8, amount=5, reason="x", actor="test")
    assert run_json("ledger", "check") == {"accounts": 2, "mismatches": []}
    assert "2 accounts checked, 0 differ" in run("ledger", "check")


@pytest.mark.req("C-03", "D-05")
def test_a_mismatch_is_printed_exits_with_1_and_is_not_repaired() -> None:
    _spend()
    credits.grant(user_id=8, amount=5, reason="x", actor="test")
    postgres.query("UPDATE account SET balance = 61 WHERE user_id = 7 RETURNING 1")
    for json in ([], ["--json"]):
        with pytest.raises(CommandError, match=r"1 differ.*ledger-mismatch") as failed:
            run("ledger", "check", *json)
        assert failed.value.returncode == 1
    [wrong] = [account for account in statements.check() if not account.agrees]
    assert (wrong.user_id, wrong.balance, wrong.entries) == (7, 61, 60)


@pytest.mark.req("C-03")
def test_the_check_reaches_accounts_beyond_its_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "CHUNK", 2)
    for user in range(1, 8):
        credits.grant(user_id=user, amount=user, reason="x", actor="test")
    postgres.query("UPDATE account SET balance = 0 WHERE user_id = 7 RETURNING 1")
    assert [a.user_id for a in statements.check() if not a.agrees] == [7]
    assert len(list(statements.check())) == 7
    assert list(statements.users()) == list(range(1, 8))


@pytest.mark.req("D-05")
def test_a_statement_leads_from_the_opening_to_the_closing_balance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statements, "CHUNK", 2)
    cancelled = _spend()
    text = run("ledger", "statement", "--user", "7", "--month", _month())
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(x["kind"], x["amount"], x["balance"]) for x in lines] == [
        ("opening", "0", "0"),
        ("grant", "100", "100"),
        ("charge", "-40", "60"),
        ("charge", "-30", "30"),
        ("refund", "30", "60"),
        ("closing", "0", "60"),
    ]
    assert lines[1]["reason"] == "'=1+1"  # no spreadsheet takes it for a formula
    assert (lines[4]["task_id"], lines[4]["reason"]) == (cancelled, "not wanted")


@pytest.mark.req("D-05")
def test_an_earlier_month_closes_where_the_next_one_opens() -> None:
    credits.grant(user_id=7, amount=100, reason="x", actor="test")
    old = run_json("ledger", "statement", "--user", "7", "--month", "2020-12")["lines"]
    assert [(line["kind"], line["balance"]) for line in old] == [("opening", 0), ("closing", 0)]
    assert old[1]["at"] == "2021-01-01T00:00:00Z"


@pytest.mark.req("D-05")
def test_all_accounts_go_into_a_file_that_appears_at_the_end(tmp_path: Path) -> None:
    _spend()
    credits.grant(user_id=8, amount=5, reason="x", actor="test")
    target = tmp_path / "books.csv"
    assert run("ledger", "statement", "--month", _month(), "--output", str(target)) == ""
    lines = list(csv.DictReader(target.read_text().splitlines()))
    assert [x["balance"] for x in lines if x["kind"] == "closing"] == ["60", "5"]
    assert [path.name for path in tmp_path.iterdir()] == ["books.csv"]


@pytest.mark.req("D-05")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--user", "9", "--month", "2026-11"], "no account"),
        (["--month", "2026-13"], "written as 2026-11"),
        (["--month", "soon"], "written as 2026-11"),
        (["--month", "9999-12"], "written as 2026-11"),
        (["--month", "2026-11", "--output", "/no/such/folder/x.csv"], "cannot be written"),
        (["--user", "7"], "--month"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(argv: list[str], says: str) -> None:
    with pytest.raises(CommandError) as failed:
        run("ledger", "statement", *argv)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)
