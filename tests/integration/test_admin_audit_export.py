"""The audit log as a file: what the filter finds, whole, and harmless in a spreadsheet."""

import csv
import io
import json

import pytest
from django.test import Client

from jobs.models import AuditEntry
from queues_admin.admin import audit
from tests.integration.admin_support import client_of

pytestmark = pytest.mark.usefixtures("engine")
EXPORT = "/admin/jobs/auditentry/export.csv"


def _lines(client: Client, query: str = "") -> list[dict[str, str]]:
    answer = client.get(EXPORT + query)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/csv")
    whole = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    return list(csv.DictReader(io.StringIO(whole)))


@pytest.mark.req("V-11", "T-06")
def test_the_audit_log_is_exported_whole_by_the_filter_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "_CHUNK", 7)
    for n in range(30):
        AuditEntry.objects.create(
            actor="user:ann" if n % 3 else "key:k",
            action="queue.pause",
            target=f"q{n}",
            reason='a "reason", with\ncommas',
            refused=n % 5 == 0,
            before={"paused": False},
            after={"paused": True, "n": n},
        )
    admin = client_of("admin")
    everything = [line for line in _lines(admin) if line["action"] == "queue.pause"]
    assert [line["target"] for line in everything] == [f"q{n}" for n in reversed(range(30))]
    assert everything[0]["reason"] == 'a "reason", with\ncommas'
    assert json.loads(everything[0]["after"]) == {"paused": True, "n": 29}
    assert everything[0]["tenant"] == "default"
    some = _lines(admin, "?actor=key:k&refused=1&before=5")
    assert [line["target"] for line in some] == ["q15", "q0"]
    assert (
        "export.csv?actor=key" in admin.get("/admin/jobs/auditentry/?actor=key:k").content.decode()
    )


@pytest.mark.req("V-11", "T-06")
def test_no_cell_of_the_export_is_a_formula() -> None:
    AuditEntry.objects.create(
        actor="=cmd()", address="+1", action="-x", target="@a", reason="=1+1", after="=2"
    )
    line = next(line for line in _lines(client_of("admin")) if "cmd" in line["actor"])
    assert not any(cell[:1] in "=+-@" for cell in line.values() if cell)


@pytest.mark.req("V-11", "V-12")
def test_who_may_not_read_the_audit_log_may_not_export_it() -> None:
    viewer = client_of("viewer")
    page, file = (viewer.get(url).status_code for url in ("/admin/jobs/auditentry/", EXPORT))
    assert page == file
    assert Client().get(EXPORT).status_code == 302
