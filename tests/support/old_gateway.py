"""An older system's `tasks` table with everything in it that ever went wrong."""

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

COLUMNS = (
    *("id", "created_at", "updated_at", "task_id", "platform", "user_id", "group", "channel_id"),
    *("quota", "action", "status", "fail_reason", "submit_time", "start_time", "finish_time"),
    *("progress", "properties", "private_data", "data"),
)
KEY = "sk-live-0123456789abcdef"
HOUR_AGO = int(time.time()) - 3600


def row(id_: int, **given: Any) -> dict[str, Any]:
    """An ordinary unfinished row; `given` replaces columns."""
    usual: dict[str, Any] = {
        "id": id_,
        "created_at": HOUR_AGO,
        "updated_at": HOUR_AGO + 60,
        "task_id": f"task-{id_}",
        "platform": "50",
        "user_id": 7,
        "group": "vip",
        "channel_id": 3,
        "quota": 500,
        "action": "textGenerate",
        "status": "IN_PROGRESS",
        "fail_reason": "",
        "submit_time": HOUR_AGO + 5,
        "start_time": HOUR_AGO + 10,
        "finish_time": 0,
        "progress": "30%",
        "properties": '{"input": "a cat"}',
        "private_data": json.dumps({"upstream_task_id": f"up-{id_}"}),
        "data": '{"state": "running"}',
    }
    return usual | given


def nothing(id_: int) -> dict[str, Any]:
    """NULL everywhere."""
    return {**dict.fromkeys(COLUMNS), "id": id_}


def nasty() -> list[tuple[dict[str, Any], str]]:
    """Rows with the action that each must get; texts hold only what every database can store."""
    private = json.dumps({"upstream_task_id": "up-key", "key": KEY})
    return [
        (row(1), "enqueue"),
        (row(2, status=" success "), "skip_terminal"),
        (row(3, status="FAILURE"), "skip_terminal"),
        (row(4, status=""), "fail_refund"),
        (row(5, status=None, quota=None), "fail_refund"),
        (row(6, status="NOT_START"), "leave_not_started"),
        (row(7, status="PAUSED"), "report_unknown_status"),
        (row(8, platform="999"), "report_unknown_platform"),
        (row(9, platform=" KLING ", status="queued"), "enqueue"),
        (row(10, quota=-40), "enqueue"),
        (row(11, private_data=json.dumps({"upstream_task_id": "up-1"})), "skip_duplicate"),
        (row(12, private_data=json.dumps({"upstream_task_id": "up-1"}), channel_id=4), "enqueue"),
        (row(13, private_data=None, task_id=None), "fail_refund"),
        (row(14, private_data="{broken", data='{"half": ', properties="[1, 2"), "enqueue"),
        (row(15, created_at=HOUR_AGO * 1000, submit_time=-5, start_time=2**40), "enqueue"),
        (row(16, user_id=None), "enqueue"),
        (row(17, user_id=None, status=""), "fail_refund"),
        (row(18, private_data=private, fail_reason=f"bad key {KEY}", data=f'["{KEY}"]'), "enqueue"),
        (
            row(19, data=r'{"a\u0000b": "\ud800 \u0000", "deep": ' + "[" * 40 + "]" * 40 + "}"),
            "enqueue",
        ),
        (row(20, properties=json.dumps({"big": "x" * 40_000})), "enqueue"),
        (row(21, task_id="task-1", status="UNKNOWN", progress="soon"), "enqueue"),
        (row(22, created_at=HOUR_AGO - 30 * 86_400, submit_time=0), "enqueue"),
        (row(23, private_data=json.dumps({"upstream_task_id": 12345})), "enqueue"),
        (nothing(24), "report_unknown_platform"),
        ({**nothing(25), "platform": "suno"}, "fail_refund"),
        (row(26, fail_reason="no money 没有余额", status=""), "fail_refund"),
    ]


def only_sqlite() -> list[tuple[dict[str, Any], str]]:
    """What only a database without types lets in."""
    return [
        (row(101, task_id=b"\xff\xfe bad", fail_reason=b"\x80", status=""), "fail_refund"),
        (row(102, data=b'{"a": "\xff"}', properties=b"\x00\x01"), "enqueue"),
        (row(103, quota="12.0", user_id="7", channel_id="3", created_at=str(HOUR_AGO)), "enqueue"),
        (row(104, quota="much", created_at="yesterday", submit_time=1e300), "enqueue"),
        (row(105, task_id="a\x00b", private_data=b"{}"), "enqueue"),
        (row(106, quota=2**62, private_data=b'{"upstream_task_id": {"a": 1}}'), "enqueue"),
        (row(107, status=b"\xff\xff"), "report_unknown_status"),
    ]


def sqlite_file(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    """The rows in a new file, JSON columns as BLOBs; returns its URL."""
    with sqlite3.connect(path) as db:
        names = ", ".join(f'"{name}"' for name in COLUMNS if name != "id")
        db.execute(f"CREATE TABLE tasks (id INTEGER PRIMARY KEY, {names})")
        marks = ", ".join("?" * len(COLUMNS))
        db.executemany(f"INSERT INTO tasks VALUES ({marks})", (_blobs(r) for r in rows))
    db.close()
    return f"sqlite://{path}"


def _blobs(given: dict[str, Any]) -> Sequence[Any]:
    json_columns = ("properties", "private_data", "data")
    return [
        value.encode() if name in json_columns and isinstance(value, str) else value
        for name, value in ((name, given[name]) for name in COLUMNS)
    ]


def report_lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
