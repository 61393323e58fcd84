"""The audit log's hash chain: whatever is changed behind its back is found."""

import pytest
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.db.utils import DatabaseError

from jobs.domain.errors import Malformed
from jobs.operations import audit_chain, audits
from jobs.selectors import audit_chain as reading
from jobs.store import postgres
from tests.support import cli

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("S20", "T-06")]


def _entries(count: int = 5) -> None:
    for n in range(count):
        audits.record(actor=f"user:{n}", action="task.cancel", target=f"t{n}", after={"n": n})
    while audit_chain.link():
        pass


def _behind_its_back(sql: str) -> None:
    """As somebody who may switch triggers off."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql)


def test_every_entry_gets_its_link_and_an_untouched_log_is_found_whole() -> None:
    _entries()
    assert postgres.query("SELECT count(*) FROM audit_unlinked") == [(0,)]
    found = reading.verify()
    assert (found.links, found.problems) == (5, [])
    _entries(2)
    assert reading.verify(found.head).problems == []
    assert cli.run_json("audit", "verify", "--head", found.head)["links"] == 7


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE audit_entry SET actor = 'user:x' WHERE target = 't2'", "was changed"),
        ("UPDATE audit_entry SET after = '{}' WHERE target = 't2'", "was changed"),
        ("UPDATE audit_entry SET at = at - interval '1 s' WHERE target = 't2'", "was changed"),
        ("DELETE FROM audit_entry WHERE target = 't2'", "is missing"),
        ("DELETE FROM audit_link WHERE seq = 3", "are missing"),
        ("UPDATE audit_link SET hash = repeat('a', 64) WHERE seq = 3", "was changed"),
        (
            "INSERT INTO audit_entry (actor, address, action, target, reason, refused)"
            " VALUES ('a', '', 'b', '', '', false)",
            "outside the chain",
        ),
    ],
)
def test_what_is_changed_removed_or_slipped_in_is_found(sql: str, problem: str) -> None:
    _entries()
    _behind_its_back(sql)
    assert any(problem in found for found in reading.verify().problems)
    with pytest.raises(CommandError):
        cli.run("audit", "verify")


def test_a_head_kept_elsewhere_betrays_a_cut_and_a_rewritten_chain() -> None:
    _entries()
    head = reading.verify().head
    _behind_its_back(
        "DELETE FROM audit_link WHERE seq > 2; DELETE FROM audit_entry WHERE target > 't1'"
    )
    assert reading.verify().problems == []
    assert "ends at 2" in reading.verify(head).problems[0]
    _behind_its_back("DELETE FROM audit_link; UPDATE audit_entry SET actor = 'nobody'")
    _behind_its_back("INSERT INTO audit_unlinked SELECT id FROM audit_entry")
    _entries(3)
    assert reading.verify().problems == []
    assert "not the one that was known" in reading.verify(head).problems[0]
    with pytest.raises(Malformed):
        reading.verify("5")


def test_links_are_neither_changed_nor_removed_by_ordinary_means() -> None:
    _entries(1)
    for sql in ("UPDATE audit_link SET hash = 'x'", "DELETE FROM audit_link"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            postgres.query(f"{sql} RETURNING 1")


def test_an_entry_that_becomes_visible_late_is_linked_then() -> None:
    _entries(2)
    with transaction.atomic():
        audits.record(actor="user:late", action="a")
        with transaction.atomic():
            audits.record(actor="user:later", action="b")
    assert audit_chain.link() == 2
    assert audit_chain.link() == 0
    assert reading.verify().problems == []
