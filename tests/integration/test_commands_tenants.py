"""`manage.py tenants` and `manage.py keys` on real stores (D-05)."""

import json

import pytest
from django.core.management.base import CommandError

from jobs.models import AuditEntry, Queue
from jobs.operations import keys, tenants
from jobs.store import catalog
from tests.support.cli import audit, run, run_json

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.req("T-01", "D-05", "T-06")
def test_the_command_line_makes_lists_sets_and_pauses_tenants() -> None:
    told = run_json("tenants", "create", "acme", "--name", "Acme", "--max-pending", "5")
    assert (told["slug"], told["name"], told["max_pending"]) == ("acme", "Acme", 5)
    told = run_json("tenants", "set", "acme", "--max-pending", "none", "--rate-per-s", "9")
    assert (told["max_pending"], told["rate_per_s"]) == (None, 9)
    assert [t["slug"] for t in run_json("tenants", "list")["items"]] == ["default", "acme"]
    assert "acme:default" in run("tenants", "show", "acme")
    told = run_json("tenants", "pause", "acme", "--reason", "abuse")
    assert set(told["queues"]) == {row.name for row in Queue.objects.filter(tenant_paused=True)}
    run("tenants", "resume", "acme")
    actions = [action for action, _, _ in audit()]
    assert actions == ["tenant.create", "tenant.change", "tenant.pause", "tenant.resume"]


@pytest.mark.req("D-05")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("create", "A"), "A slug has"),
        (("set", "acme"), "Nothing to change"),
        (("set", "nobody", "--name", "x"), "no such tenant"),
        (("set", "default", "--rate-per-s", "3"), "no quotas"),
        (("set", "acme", "--rate-per-s", "0"), "rate_per_s"),
        (("set", "acme", "--rate-per-s", "fast"), "whole number"),
        (("resume", "acme"), "is not paused"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_in_one_line(
    argv: tuple[str, ...], says: str
) -> None:
    tenants.create("acme")
    with pytest.raises(CommandError, match=says):
        run("tenants", *argv)
    assert AuditEntry.objects.count() == 0


@pytest.mark.req("T-02", "D-05", "T-06")
def test_keys_are_made_listed_and_revoked_on_the_command_line() -> None:
    acme = tenants.create("acme")
    catalog.forget()
    made = run_json("keys", "create", "shop", "--scopes", "submit", "read", "--tenant", "acme")
    caller = keys.authenticate(made["key"])
    assert caller is not None
    assert (caller.tenant_id, caller.scopes) == (acme.pk, frozenset({"submit", "read"}))
    listed = run_json("keys", "list", "--tenant", "acme")["items"]
    assert [(k["key_id"], k["tenant"]) for k in listed] == [(made["key_id"], "acme")]
    assert made["key"] not in json.dumps(listed)
    with pytest.raises(CommandError, match="--yes"):
        run("keys", "revoke", made["key_id"])
    run("keys", "revoke", made["key_id"], "--yes", "--reason", "leaked")
    assert keys.authenticate(made["key"]) is None
    with pytest.raises(CommandError, match="a time to come"):
        run("keys", "create", "x", "--scopes", "read", "--expires-at", "2001-01-01T00:00:00Z")
    assert made["key"] not in str(list(AuditEntry.objects.values()))


@pytest.mark.req("D-05", "T-02")
def test_scopes_named_one_by_one_add_up() -> None:
    made = run_json("keys", "create", "x", "--scopes", "read", "--scopes", "submit,operate")
    assert made["scopes"] == ["operate", "read", "submit"]
