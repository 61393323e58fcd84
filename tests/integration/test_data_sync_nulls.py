"""`data:sync` and rows that have no key."""

import sqlite3
from pathlib import Path

import pytest
from pytest_django import Settings

from jobs.builtin import data_sync
from jobs.builtin.data_sync import Sync
from jobs.handlers import Context
from jobs.models import SyncedRow

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("S-09")]


def context() -> Context:
    return Context(task_id="task_S", type="x", queue="q", attempt=1, retried=0)


def test_a_row_without_a_key_is_left_out_by_later_copies_too(
    tmp_path: Path, settings: Settings
) -> None:
    link = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    link.execute("CREATE TABLE orders (ref TEXT, changed INTEGER)")
    link.execute("INSERT INTO orders VALUES ('a', 1), (NULL, 2)")
    path = tmp_path / "sources.toml"
    path.write_text(
        f'[orders]\nurl = "sqlite:///{tmp_path}/other.db"\ntable = "orders"\nkey = "ref"\nwatermark = "changed"\n'
    )
    settings.TASKCENTER = {**settings.TASKCENTER, "SYNC_SOURCES": str(path)}
    assert data_sync.sync(Sync(source="orders"), context())["rows"] == 1
    link.execute("INSERT INTO orders VALUES ('b', 3)")
    assert data_sync.sync(Sync(source="orders"), context())["rows"] == 1
    assert set(SyncedRow.objects.values_list("key", flat=True)) == {"a", "b"}
