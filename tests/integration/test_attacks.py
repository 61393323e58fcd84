"""What was found by attacking the house: who may ask for what."""

import pytest

from jobs.domain.errors import UnknownType
from jobs.handlers.registry import handler, names, public_handler
from jobs.store import postgres
from tests.support import api
from tests.support.api import data, error

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.req("T-02", "S-09")
@pytest.mark.parametrize("name", ["platform:cancel", "plan:step", "billing:deliver"])
def test_the_houses_own_types_are_unknown_to_callers(name: str) -> None:
    assert name in names()
    assert handler(name).internal
    with pytest.raises(UnknownType):
        public_handler(name)
    caller = api.client("admin")
    assert error(caller.post("/tasks", {"type": name}), 422)["code"] == "unknown_type"
    assert error(caller.post("/enqueue", {"type": name}), 422)["code"] == "unknown_type"
    tick = {"name": "s", "cron": "* * * * *", "type": name}
    assert error(caller.post("/schedules", tick), 422)["code"] == "unknown_type"
    batch = data(caller.post("/tasks/batch", {"tasks": [{"type": name}, {"type": "debug:noop"}]}))
    assert (batch["accepted"], batch["results"][0]["error"]["code"]) == (1, "unknown_type")
    made = data(caller.post("/schedules", {**tick, "type": "debug:noop"}), 201)
    error(caller.patch(f"/schedules/{made['id']}", {"type": name}), 422)


@pytest.mark.req("T-02", "S-09")
def test_cleaning_and_reports_need_scope_operate_besides_submit() -> None:
    asked = [
        {"type": "cleanup:expired"},
        {"type": "report:generate", "payload": {"name": "credits_by_account"}},
    ]
    for body in asked:
        assert error(api.client("submit").post("/tasks", body), 403)["code"] == "forbidden"
        data(api.client("submit", "operate").post("/tasks", body), 201)
    batch = data(api.client("submit").post("/tasks/batch", {"tasks": asked}))
    assert [r["error"]["code"] for r in batch["results"]] == ["forbidden", "forbidden"]
    mail = {"user_id": 1, "to": "a@b.example", "subject": "hi"}
    assert handler("email:deliver").scope == "submit"
    assert api.client("submit").post("/tasks", {"type": "email:deliver", "payload": mail})


@pytest.mark.req("T-05")
def test_a_platforms_credential_does_not_follow_it_to_another_address() -> None:
    new = {"name": "p", "protocol": "replicate", "base_url": "https://one.example"}
    caller = api.client("operate", "read")
    data(caller.post("/platforms", {**new, "credential": "r8_first"}), 201)
    moved = {"base_url": "https://two.example"}
    assert error(caller.patch("/platforms/p", moved), 422)["details"] == {"field": "credential"}
    data(caller.patch("/platforms/p", {"base_url": new["base_url"]}))
    data(caller.patch("/platforms/p", {**moved, "credential": "r8_second"}))
    assert data(caller.get("/platforms/p"))["base_url"] == moved["base_url"]


@pytest.mark.req("T-05")
def test_where_private_addresses_are_allowed_only_an_admin_chooses_another() -> None:
    new = {"name": "p", "protocol": "replicate", "base_url": "http://10.0.0.5"}
    admin = api.client("admin")
    data(admin.post("/platforms", {**new, "credential": "r8", "allow_private": True}), 201)
    moved = {"base_url": "http://169.254.169.254", "credential": "r8"}
    refused = error(api.client("operate", "read").patch("/platforms/p", moved), 403)
    assert refused["code"] == "forbidden"
    data(api.client("operate", "read").patch("/platforms/p", {"time_limit": 60}))
    data(admin.patch("/platforms/p", moved))


@pytest.mark.req("S-04", "S-07", "S23")
def test_a_batch_fans_out_into_so_many_shards_in_all() -> None:
    caller = api.client("submit")
    many = {"type": "debug:noop", "shards": [0] * 6_000}
    hidden = {"type": "debug:fanout", "payload": {"shards": 6_000}}
    plain = {"type": "debug:noop"}
    done = data(caller.post("/tasks/batch", {"tasks": [many, hidden, plain, many, plain]}))
    codes = [r.get("error", {}).get("code") for r in done["results"]]
    assert codes == [None, "too_large", None, "too_large", None]
    assert postgres.query("SELECT count(*) FROM task") == [(6_003,)]
