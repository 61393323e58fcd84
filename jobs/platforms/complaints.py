"""What is wrong with what an operator says of a platform: all of it at once, each with what is expected.

An adapter may say `options_type`, the struct of the options it knows, and `complaints(config)` for what is its own.
"""

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from types import NoneType

import msgspec

from jobs.platforms.guard import TargetRefused, is_inner, split
from jobs.platforms.webhooks import STANDARD, is_secret

_MOST_S = 30 * 86_400  # the longest time limit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Complaint:
    """About a field of the platform; `message` is a translatable template for `params`, which hold no secret.

    `missing`: nothing wrong was said, something is not there yet.
    """

    field: str
    message: str
    params: Mapping[str, object] = dataclasses.field(default_factory=dict)
    missing: bool = False


class CommonOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Those that every protocol knows; times in seconds."""

    two_phase_cancel: bool = False
    partial_refund: bool = True
    poll_first_s: float | None = None
    poll_last_s: float | None = None


def gettext_noop(message: str) -> str:
    """Marks a text for translation; the page that shows it translates."""
    return message


_ = gettext_noop


def address(base_url: str, *, allow_private: bool) -> Iterator[Complaint]:
    """A `base_url` that no request could be made of, or that would be called by nobody."""
    if not base_url.startswith(("http://", "https://")):
        message = _("`base_url` must begin with http:// or https://")
        yield Complaint(field="base_url", message=message)
        return
    try:
        _scheme, host, _port = split(base_url)
    except TargetRefused as error:
        yield Complaint(field="base_url", message=error.template, params=error.details)
        return
    if "?" in base_url or "#" in base_url:
        message = _("`base_url` is a host and at most a path: no `?`, no `#`")
        yield Complaint(field="base_url", message=message)
    if not allow_private and is_inner(host):
        message = _(
            "`base_url` leads to '%(host)s', which is no public address and would not be called: an admin of the"
            " house sets `allow_private` for it, or the platform gets a public address"
        )
        # Something is missing, not wrong: a platform that is switched off may wait for its leave.
        yield Complaint(field="base_url", message=message, params={"host": host}, missing=True)


def credential(text: str) -> Iterator[Complaint]:
    """A credential that no header could carry."""
    if _unsendable(text):
        message = _(
            "The credential holds a line feed, a blank at an end or another character that no header can carry;"
            " printable ASCII is expected"
        )
        yield Complaint(field="credential", message=message)


def text_secret(text: str) -> Iterator[Complaint]:
    """A webhook secret that is none by Standard Webhooks."""
    if _unsendable(text):
        message = _(
            "The webhook secret holds a line feed, a blank at an end or another character that is not printable ASCII"
        )
        yield Complaint(field="webhook_secret", message=message)
    elif text and not is_secret(text):
        message = _("A webhook secret that begins with %(prefix)s goes on in base64")
        yield Complaint(field="webhook_secret", message=message, params={"prefix": STANDARD})


def header_value(option: str, value: object) -> Iterator[Complaint]:
    if isinstance(value, str) and _unsendable(value):
        message = _("Option '%(option)s' goes into a header: printable ASCII is expected")
        yield Complaint(field="options", message=message, params={"option": option})


def options(struct: type[msgspec.Struct], given: Mapping[str, object]) -> Iterator[Complaint]:
    """Options that this protocol does not know, lacks, or cannot read; `struct` says which there are."""
    yield from _struct(struct, given, "")
    first, last = (given.get(f"poll_{end}_s") for end in ("first", "last"))
    if first is None and last is None:
        return
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in (first, last))
    if not numbers or not 0 < first <= last <= _MOST_S:  # type: ignore[operator]  # both are numbers
        message = _(
            "Options `poll_first_s` and `poll_last_s` go together: 0 < first <= last <= %(most_s)s"
        )
        yield Complaint(field="options", message=message, params={"most_s": _MOST_S})


def _struct(
    struct: type[msgspec.Struct], given: Mapping[str, object], path: str
) -> Iterator[Complaint]:
    known = {one.encode_name: one for one in msgspec.structs.fields(struct)}
    for name in given.keys() - known.keys():
        message = _("There is no option '%(option)s'; known here are %(known)s")
        said = {"option": f"{path}{name}"[:100], "known": ", ".join(sorted(known))}
        yield Complaint(field="options", message=message, params=said)
    for name, one in known.items():
        if name in given:
            yield from _value(one.type, given[name], f"{path}{name}")
        elif one.required:
            message = _("Option '%(option)s' is missing")
            said = {"option": f"{path}{name}"}
            yield Complaint(field="options", message=message, params=said, missing=True)


def _value(type_: object, value: object, path: str) -> Iterator[Complaint]:
    inner, *_more = [part for part in typing.get_args(type_) if part is not NoneType] or [type_]
    nested = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
    if nested and isinstance(value, dict):
        yield from _struct(inner, value, f"{path}.")
        return
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        message = _("Option '%(option)s' is wrong: %(problem)s")
        said = {"option": path, "problem": str(error)[:200]}
        yield Complaint(field="options", message=message, params=said)


def _unsendable(text: str) -> bool:
    return text != text.strip() or re.fullmatch(r"[\x20-\x7e]*", text) is None
