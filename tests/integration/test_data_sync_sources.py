"""The file of TASKCENTER_SYNC_SOURCES: what is wrong with it is said by file, source and key."""

from pathlib import Path

import pytest
from pytest_django import Settings

from jobs.domain.errors import Invalid, Misconfigured
from jobs.operations import sync_sources

_SOUND = "[orders]\ntable = 'o'\nkey = 'id'\nwatermark = 'at'\n"


@pytest.mark.req("D-03")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[orders", "is not TOML: "),
        ("orders = 1", r"`orders` stands outside"),
        (_SOUND, r"\[orders\] needs one of `url` and `url_env`"),
        (_SOUND + "url = 'sqlite:///x'\nurl_env = 'X'", r"\[orders\] needs one of"),
        (_SOUND.replace("'id'", "'id; DROP'") + "url = 'sqlite:///x'", r"\[orders\]: .*`\$.key`"),
        (_SOUND + "url = 'sqlite:///x'\nbatch = 0", r"\[orders\]: .*`\$.batch`"),
        (_SOUND + "url = 'sqlite:///x'\ncolums = ['id']", r"\[orders\]: .*field `colums`"),
    ],
)
def test_a_wrong_file_of_sources_is_refused_by_file_source_and_key(
    text: str, said: str, tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    settings.TASKCENTER = {**settings.TASKCENTER, "SYNC_SOURCES": str(path)}
    with pytest.raises(Misconfigured, match=f"TASKCENTER_SYNC_SOURCES: {path} {said}"):
        sync_sources.sources()


@pytest.mark.req("D-03")
def test_a_missing_file_of_sources_is_said_and_so_is_that_none_is_named(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "missing.toml"
    settings.TASKCENTER = {**settings.TASKCENTER, "SYNC_SOURCES": str(path)}
    with pytest.raises(Misconfigured, match=r"missing.toml cannot be read \(No such file"):
        sync_sources.sources()
    settings.TASKCENTER = {**settings.TASKCENTER, "SYNC_SOURCES": ""}
    with pytest.raises(Invalid, match="TASKCENTER_SYNC_SOURCES names no file here"):
        sync_sources.named("orders")
