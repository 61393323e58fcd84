"""Every text that people are shown has its Chinese, and the compiled catalog is the one that Django reads."""

import re
from pathlib import Path

import polib
import pytest
from django.utils import translation
from django.utils.translation import ngettext

from jobs.management.translations import CATALOG, built, catalogs, msgids, plurals

ROOT = Path(__file__).parents[2]
_FIELD = re.compile(r"%\(\w+\)s|%%")


@pytest.fixture(scope="module")
def catalog() -> polib.POFile:
    return polib.pofile(str(ROOT / CATALOG))


def _said(entry: polib.POEntry) -> str:
    """Chinese has one form for all numbers."""
    return str(entry.msgstr_plural[0] if entry.msgid_plural else entry.msgstr)


@pytest.mark.req("V-13")
def test_every_text_in_code_and_templates_has_a_chinese_entry(catalog: polib.POFile) -> None:
    known = {entry.msgid for entry in catalog if _said(entry).strip()}
    missing = {text: files for text, files in msgids(ROOT).items() if text not in known}
    assert not missing, "run `make generate`, then translate the empty entries of django.po"


@pytest.mark.req("V-13")
def test_the_texts_are_found_in_python_in_templates_and_in_errors() -> None:
    found = msgids(ROOT)
    for text in (
        "Emergency stop",
        "Size = pending + active + scheduled + retry.",
        "%(percent)s %%: %(done)s done, %(skipped)s skipped, %(failed)s failed, %(waiting)s left.",
        "The queue is at its capacity; try again later.",
        "There is no such plan",
        "No worker is alive",
    ):
        assert text in found


@pytest.mark.req("V-13", "A-03")
def test_no_message_to_people_is_put_together_where_nobody_can_translate_it() -> None:
    assert built(ROOT) == []


@pytest.mark.req("V-13")
@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ('raise Invalid(f"no {x}")', True),
        ('raise Invalid("no %(x)s")', True),
        ('raise Invalid("no " + x)', True),
        ('raise Invalid("no %(x)s", x=x)', False),
        ('messages.error(request, f"no {x}")', True),
        ('Done(message=f"no {x}")', True),
        ('Done(message=_("no %(x)s") % {"x": x})', False),
        ('log.warning(f"no {x}")', False),
    ],
)
def test_what_is_put_together_is_found(tmp_path: Path, code: str, refused: bool) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "some.py").write_text(f"def f(x):\n    {code}\n")
    assert built(tmp_path) == (["jobs/some.py:2"] if refused else [])


@pytest.mark.req("V-13")
def test_a_translation_keeps_the_fields_of_its_text(catalog: polib.POFile) -> None:
    wrong = [
        entry.msgid
        for entry in catalog
        if "%(" in entry.msgid
        and sorted(set(_FIELD.findall(entry.msgid))) != sorted(set(_FIELD.findall(_said(entry))))
    ]
    assert wrong == []


@pytest.mark.req("V-13")
def test_a_text_with_a_number_has_a_form_for_one_and_a_form_for_more() -> None:
    with translation.override("en"):
        told = ngettext("%(n)s key was evicted.", "%(n)s keys were evicted.", 1)
    assert told == "%(n)s key was evicted."
    many = plurals(ROOT)
    assert many["%(n)s key was evicted."] == "%(n)s keys were evicted."
    assert many["About %(n)s task fits."] == "About %(n)s tasks fit."
    with translation.override("zh-hans"):
        one = ngettext("%(n)s key was evicted.", "%(n)s keys were evicted.", 1)
        assert one == ngettext("%(n)s key was evicted.", "%(n)s keys were evicted.", 2)
        assert "evicted" not in one


_COUNTED = re.compile(
    r"%\(\w+\)s (?:tasks|credits|keys|users|minutes|attempts|accounts|runs|queues|shards|entries|members)\b"
)
# The number is above one, or a bound that is.
_MANY = (
    "runs another",
    "fan",
    "has more than",
    "At most",
    "A grant is between",
    "migrated tasks",
    "queues paused",
)


@pytest.mark.req("V-13")
def test_no_counted_thing_has_a_plural_only(catalog: polib.POFile) -> None:
    wrong = [
        entry.msgid
        for entry in catalog
        if _COUNTED.search(entry.msgid)
        and not entry.msgid_plural
        and not any(text in entry.msgid for text in _MANY)
    ]
    assert wrong == []


@pytest.mark.req("V-13")
def test_the_compiled_catalog_is_made_from_the_readable_one() -> None:
    compiled = (ROOT / CATALOG).with_suffix(".mo")
    assert compiled.read_bytes() == catalogs(ROOT)[compiled], "run `make generate`"


@pytest.mark.req("V-13")
def test_django_reads_it() -> None:
    with translation.override("zh-hans"):
        assert translation.gettext("Emergency stop") == "紧急停止"
