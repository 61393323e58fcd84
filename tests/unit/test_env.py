"""Environment variables: typed, explained, masked (D-03, T-07)."""

from pathlib import Path

import pytest

from taskcenter import env


def _refusal(call: object) -> str:
    with pytest.raises(env.WrongValue) as caught:
        call()  # type: ignore[operator]
    return str(caught.value)


@pytest.mark.req("D-03")
@pytest.mark.parametrize(
    ("given", "value"), [("true", True), ("1", True), ("On", True), ("false", False), ("NO", False)]
)
def test_a_flag_understands_the_usual_words(
    monkeypatch: pytest.MonkeyPatch, given: str, value: bool
) -> None:
    monkeypatch.setenv("UPDATE_TASK", given)
    assert env.flag("UPDATE_TASK", not value) is value


@pytest.mark.req("D-03")
def test_an_unset_or_empty_variable_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASK_POLL_INTERVAL", raising=False)
    assert env.number("TASK_POLL_INTERVAL", 15.0, minimum=0.1, maximum=60) == 15.0
    monkeypatch.setenv("TASK_POLL_INTERVAL", " ")
    assert env.number("TASK_POLL_INTERVAL", 15.0, minimum=0.1, maximum=60) == 15.0


@pytest.mark.req("D-03")
@pytest.mark.parametrize("given", ["x", "0", "10001", "1.5", "nan", "-1", "１０²"])
def test_a_wrong_number_says_which_variable_what_was_given_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("ASYNQ_CONCURRENCY", given)
    line = _refusal(lambda: env.integer("ASYNQ_CONCURRENCY", 10, minimum=1, maximum=10_000))
    assert line.startswith("ASYNQ_CONCURRENCY: ")
    assert repr(given) in line
    assert "a whole number from 1 to 10000" in line
    assert "\n" not in line


@pytest.mark.req("D-03")
@pytest.mark.parametrize("given", ["nan", "inf", "-0.1", "fifteen"])
def test_a_wrong_interval_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TASK_POLL_INTERVAL", given)
    line = _refusal(lambda: env.number("TASK_POLL_INTERVAL", 15, minimum=0.1, maximum=86_400))
    assert "a number from 0.1 to 86400" in line


@pytest.mark.req("D-03")
def test_a_wrong_word_names_the_words_that_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKCENTER_LOG_FORMAT", "xml")
    line = _refusal(lambda: env.choice("TASKCENTER_LOG_FORMAT", "json", ("json", "console")))
    assert line.endswith("allowed: json, console")
    monkeypatch.setenv("UPDATE_TASK", "maybe")
    assert _refusal(lambda: env.flag("UPDATE_TASK", True)).endswith("allowed: true or false")


@pytest.mark.req("D-03")
@pytest.mark.parametrize(
    ("url", "number", "expected"),
    [
        ("redis://:pw@host:6379/2", "5", ("redis://:pw@host:6379/5", 5)),
        ("redis://:pw@host:6379/2", "", ("redis://:pw@host:6379/2", 2)),
        ("redis://host", "", ("redis://host/0", 0)),
        (
            "rediss://host?db=3&ssl_cert_reqs=none",
            "4",
            ("rediss://host?db=4&ssl_cert_reqs=none", 4),
        ),
        ("unix:///run/redis.sock", "1", ("unix:///run/redis.sock?db=1", 1)),
    ],
)
def test_asynq_redis_db_overrides_the_database_of_the_url(
    monkeypatch: pytest.MonkeyPatch, url: str, number: str, expected: tuple[str, int]
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("ASYNQ_REDIS_DB", number)
    assert env.redis_url("REDIS_URL", "ASYNQ_REDIS_DB") == expected


@pytest.mark.req("T-07")
def test_a_secret_may_stand_in_a_file_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text("s3cret\n")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(path))
    assert env.secret("SECRET_KEY") == "s3cret"
    assert dict(env.effective())["SECRET_KEY"] == env.MASK


@pytest.mark.req("T-07")
def test_a_missing_or_empty_secret_file_and_two_sources_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "missing"))
    assert "a readable text file" in _refusal(lambda: env.secret("SECRET_KEY"))
    (tmp_path / "missing").write_text("\n")
    assert "not empty" in _refusal(lambda: env.secret("SECRET_KEY"))
    monkeypatch.setenv("SECRET_KEY", "another")
    line = _refusal(lambda: env.secret("SECRET_KEY"))
    assert "only one of the two" in line
    assert "another" not in line


@pytest.mark.req("T-07")
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:s3cret@h:1/0", "redis://:********@h:1/0"),
        ("postgresql://u:s3cr@t@h/d", "postgresql://u:********@h/d"),
        ("postgresql://u@h/d?password=s3cret&a=b", "postgresql://u@h/d?password=********&a=b"),
        ("http://[broken:s3cret@", "********"),
    ],
)
def test_urls_are_shown_without_their_passwords(url: str, shown: str) -> None:
    assert env.mask_url(url) == shown


@pytest.mark.req("T-07")
def test_a_url_of_the_wrong_kind_is_refused_without_showing_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:s3cret@h/d")
    line = _refusal(lambda: env.url("DATABASE_URL", "", ("postgres", "postgresql")))
    assert "postgres://" in line
    assert "s3cret" not in line
