"""Values that nobody trusts, made fit for our rows."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.operations.migration import clean
from jobs.operations.migration.clean import Notes

pytestmark = pytest.mark.req("G-01")

NOW_S = 1_760_000_000.0


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, None),
        (b"plain", "plain"),
        ("没有余额".encode(), "没有余额"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\x00b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        (17, "17"),
    ],
)
def test_text_becomes_what_postgresql_can_store(raw: object, text: str | None) -> None:
    assert clean.text(raw, "x", 100, Notes()) == text


@given(st.binary() | st.text())
def test_any_text_at_all_can_be_stored_afterwards(raw: bytes | str) -> None:
    found = clean.text(raw, "x", 50, Notes())
    assert found is not None and len(found) <= 50
    assert "\x00" not in found
    found.encode()


def test_every_change_is_noted_once() -> None:
    notes = Notes()
    for _ in range(2):
        clean.text(b"\xff" * 9, "fail_reason", 3, notes)
    assert notes == [
        "fail_reason: bytes that are no UTF-8 replaced",
        "fail_reason: cut to 3 characters",
    ]


@pytest.mark.parametrize(
    ("raw", "number"),
    [(None, None), (5, 5), (b" 5 ", 5), ("-7", -7), (b"12.0", 12), ("much", None), (b"nan", None)],
)
def test_numbers_are_read_from_whatever_holds_them(raw: object, number: int | None) -> None:
    assert clean.whole(raw, "quota", Notes()) == number


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(None, None), (0, None), (-1, None), (NOW_S, NOW_S), (NOW_S * 1000, NOW_S), ("1e11", 1e8)],
)
def test_times_from_1e11_on_are_milliseconds(raw: object, seconds: float | None) -> None:
    assert clean.unix_s(raw, "created_at", Notes()) == seconds


def test_a_time_in_the_future_is_none() -> None:
    assert clean.moment(NOW_S + 1, NOW_S) is None
    assert clean.moment(NOW_S - 1, NOW_S) == datetime.fromtimestamp(NOW_S - 1, UTC)
    assert clean.moment(1e300, NOW_S) is None


@pytest.mark.parametrize(
    ("raw", "percent"),
    [(b"30%", 30), ("100", 100), (" 5 % ", 5), ("33.3%", 33), ("101%", None), ("soon", None)],
)
def test_progress_is_0_to_100_or_nothing(raw: object, percent: int | None) -> None:
    assert clean.percent(raw) == percent


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"", None),
        (None, None),
        (rb'{"a\u0000": "\ud800"}', {"a\ufffd": "\ufffd"}),
        (b'{"a": NaN}', {"a": None}),
        (b'["\xff"]', ["\ufffd"]),
        (b'{"half": ', '{"half": '),
        (b"[" * 5000, "[" * 100),
        (b"[" * 40 + b"]" * 40, "[" * 40 + "]" * 40),
    ],
)
def test_json_is_cleaned_and_what_is_none_stays_as_text(raw: bytes | None, value: Any) -> None:
    assert clean.json_value(raw, "data", 100, Notes()) == value


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_json)
def test_any_json_at_all_can_be_stored_afterwards(value: Any) -> None:
    found = clean.json_value(json.dumps(value).encode(), "data", 10_000, Notes())
    again = json.dumps(found, allow_nan=False, ensure_ascii=False)
    assert "\x00" not in again and "\\u0000" not in again
    again.encode()
