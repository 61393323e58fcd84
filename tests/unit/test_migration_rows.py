"""What becomes of a source row: pure decisions."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status
from jobs.operations.migration.duplicates import Seen
from jobs.operations.migration.mapping import load
from jobs.operations.migration.rows import Action, NewTask, Reader, Row
from tests.support import old_gateway
from tests.support.old_gateway import HOUR_AGO, KEY, row

pytestmark = pytest.mark.req("G-01")

NOW = datetime.fromtimestamp(HOUR_AGO + 3600, UTC)


def _reader(*, not_started: bool = False) -> Reader:
    return Reader(load(), "tasks", now=NOW, not_started=not_started)


def _row(given: dict[str, Any]) -> Row:
    return Row({k: v.encode() if isinstance(v, str) else v for k, v in given.items()})


def _task(given: dict[str, Any]) -> NewTask:
    read = _reader(not_started=True)
    return read.task(given["id"], _row(given), read.fate(_row(given)))


@pytest.mark.parametrize(
    ("code", "platform"),
    [
        *(("50", "kling"), ("51", "jimeng"), ("52", "vidu"), ("54", "doubao"), ("45", "doubao")),
        *(("55", "sora"), ("1", "sora"), ("24", "gemini"), ("41", "vertex"), ("17", "ali")),
        *(("35", "hailuo"), ("suno", "suno"), (" MJ ", "mj"), ("Kling", "kling")),
    ],
)
def test_platform_codes_and_names_translate(code: str, platform: str) -> None:
    fate = _reader().fate(_row(row(1, platform=code)))
    assert (fate.action, fate.platform) == (Action.ENQUEUE, platform)


def test_not_started_rows_are_left_alone_unless_asked_for() -> None:
    given = _row(row(1, status="not_start"))
    assert _reader().fate(given).action is Action.LEAVE_NOT_STARTED
    assert _reader(not_started=True).fate(given).action is Action.ENQUEUE
    assert _task(row(1, status="NOT_START")).status is Status.NOT_START


def test_a_row_becomes_a_task_with_its_facts() -> None:
    task = _task(row(9))
    assert task.key == "newapi:tasks:9"
    assert (task.status, task.platform, task.external_id) == (Status.IN_PROGRESS, "kling", "up-9")
    assert (task.alias, task.user_id, task.credits, task.progress) == ("task-9", 7, 500, 30)
    assert task.created_at == datetime.fromtimestamp(HOUR_AGO, UTC)
    assert task.submitted_at == datetime.fromtimestamp(HOUR_AGO + 5, UTC)
    assert json.loads(task.payload_json) == {
        "migrated_from": "newapi:tasks:9",
        "action": "textGenerate",
        "group": "vip",
        "channel_id": "3",
        "properties": {"input": "a cat"},
        "data": {"state": "running"},
    }


def test_a_rows_task_has_the_same_id_at_every_look_and_sorts_by_its_age() -> None:
    assert _task(row(9)).id == _task(row(9, status="UNKNOWN", quota=1)).id
    assert _task(row(9)).id != _task(row(10)).id
    assert _task(row(9, created_at=HOUR_AGO - 10)).id < _task(row(8)).id
    assert _task(row(9)).id.version == 7


def test_without_an_external_id_a_task_has_failed_and_is_refunded() -> None:
    task = _task(row(1, private_data="{}", task_id=" "))
    assert task.action is Action.FAIL_REFUND
    assert task.error == "migration: there is no external id"


def test_an_id_that_cannot_be_read_falls_back_to_the_task_id_and_says_so() -> None:
    task = _task(row(1, private_data="{broken"))
    assert task.external_id == "task-1"
    assert "private_data: not readable as JSON" in task.reason
    task = _task(row(1, private_data='{"upstream_task_id": ["x"]}'))
    assert task.external_id == "task-1"
    assert "private_data.upstream_task_id: not usable as an id" in task.reason


def test_a_kling_task_is_polled_where_jobs_of_its_action_are_kept() -> None:
    def urls(action: str | None, platform: str = "50") -> Any:
        private = '{"upstream_task_id": "a/b"}'
        return json.loads(
            _task(row(1, action=action, platform=platform, private_data=private)).urls_json
        )

    assert urls("generate") == {"get": "/v1/videos/image2video/a%2Fb"}
    assert urls("textGenerate") == {"get": "/v1/videos/text2video/a%2Fb"}
    assert urls("remix") == urls(None) == urls("generate", "suno") == {}


def test_missing_and_future_times_are_those_of_the_creation() -> None:
    created = datetime.fromtimestamp(HOUR_AGO, UTC)
    task = _task(row(1, submit_time=None, start_time=-3, updated_at=HOUR_AGO + 10**9))
    assert (task.submitted_at, task.started_at, task.polled_at) == (created, created, created)


def test_a_negative_or_absurd_quota_is_0_and_flagged() -> None:
    for quota, words in ((-1, "quota negative"), (2**62, "quota too large")):
        task = _task(row(1, quota=quota))
        assert task.credits == 0
        assert words in task.reason
    assert _task(row(1, quota=None)).credits == 0


def test_without_a_user_nothing_is_refunded_and_it_is_said() -> None:
    task = _task(row(1, user_id=None))
    assert (task.user_id, task.credits) == (None, 0)
    assert "no user" in task.reason


def test_a_credential_reaches_neither_payload_nor_report() -> None:
    private = json.dumps({"upstream_task_id": "u", "key": KEY})
    given = row(1, private_data=private, status="", fail_reason=f"key {KEY}", data=f'["{KEY}"]')
    assert KEY not in repr(_task(given))
    assert json.loads(_task(given).payload_json)["data"] == ["********"]


def test_words_for_terminals_and_logs_have_no_control_characters() -> None:
    fate = _reader().fate(_row(row(1, status="\x1b[2Jgone", platform="\x1b[31m" + "x" * 500)))
    assert fate.status.isprintable() and fate.platform.isprintable() and fate.reason.isprintable()
    assert len(fate.platform) <= 40


def test_the_same_job_is_the_same_platform_channel_and_external_id() -> None:
    def digest(**given: Any) -> bytes | None:
        values = row(1, **({"private_data": '{"upstream_task_id": "a"}'} | given))
        return _reader().digest(_row(values), "kling")

    assert digest() == digest(task_id="other", platform=" Kling", quota=9)
    assert digest() != digest(channel_id=4)
    assert digest() != digest(private_data='{"upstream_task_id": "b"}')
    assert digest(private_data=None, task_id=None) is None


def test_the_first_of_equal_rows_wins_even_with_ids_beyond_64_bits() -> None:
    digest = hashlib.blake2b(b"x", digest_size=16).digest()
    with Seen() as seen:
        assert seen.first(digest, 2**63 + 1) == 2**63 + 1
        assert seen.first(digest, 2**63 + 2) == 2**63 + 1


def test_every_nasty_row_gets_a_fate_without_an_exception() -> None:
    for given, action in [*old_gateway.nasty(), *old_gateway.only_sqlite()]:
        read = _reader()
        fate = read.fate(_row(given))
        if fate.action in (Action.ENQUEUE, Action.FAIL_REFUND) and action != "skip_duplicate":
            assert read.task(given["id"], _row(given), fate).action.value == action
        elif action != "skip_duplicate":
            assert fate.action.value == action


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('name = "newapi"', 'name = "a:b"'),
        ('QUEUED = "QUEUED"', 'QUEUED = "WAITING"'),
        ('50 = "kling"', '50 = "kling; drop"'),
        ('kling = "kling"', 'kling = "soap"'),
        ('id = "id"', 'id = "id\\" --"'),
        ('quota = "quota"', 'kwota = "quota"'),
    ],
)
def test_a_wrong_mapping_file_is_refused(change: str, words: str, tmp_path: Path) -> None:
    import jobs.operations.migration as package

    text = Path(package.__file__).with_name("newapi.toml").read_text()
    assert change in text
    file = tmp_path / "own.toml"
    file.write_text(text.replace(change, words, 1))
    with pytest.raises(Misconfigured, match=r"own\.toml"):
        load(str(file))


def test_a_mapping_that_does_not_exist_is_said_to_be_missing() -> None:
    with pytest.raises(Misconfigured, match="no mapping"):
        load("oldapi")
    with pytest.raises(Misconfigured, match="no mapping"):
        load("../../secret")
