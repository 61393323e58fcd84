"""What `options` of the generic adapter hold, and what an operator is told of wrong ones."""

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from jobs.domain.states import Status
from jobs.platforms.base import PlatformConfig
from jobs.platforms.complaints import (
    CommonOptions,
    Complaint,
    gettext_noop,
    header_value,
    text_secret,
)
from jobs.platforms.guard import TargetRefused, split

HOLE = re.compile(r"\{(\w+)\}")
_ = gettext_noop
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What may stand in each URL, and what must.
_HOLES: dict[str, tuple[str, bool]] = {
    "submit": ("reference", False),
    "poll": ("id", True),
    "cancel": ("id", True),
    "lookup": ("reference", True),
    "batch": ("ids", True),
}


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` is a path below base_url with `{id}`, `{ids}` or `{reference}`; `items` where a list lies.

    `most`: how many tasks a batch asks about in one request.
    """

    url: str
    method: str = "GET"
    items: str = ""
    most: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class Submit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Our reference goes into `reference_header` and, if named, the body's `reference_field`."""

    url: str
    method: str = "POST"
    reference_header: str = "Idempotency-Key"
    reference_field: str = ""
    webhook_field: str = ""


class Paths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things lie in an answer; `progress` is 0-100, `billed` the part 0-1 of a failed or cancelled task."""

    id: str = "id"
    status: str = "status"
    result: str = "result"
    error: str = "error"
    progress: str = "progress"
    billed: str = "billed"
    webhook_id: str = "id"


class Options(CommonOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`statuses` maps their words to ours; ours are understood without being named."""

    submit: Submit
    poll: Call
    cancel: Call | None = None
    lookup: Call | None = None
    batch: Call | None = None
    paths: Paths = Paths()
    statuses: dict[str, str] = {}
    auth_header: str = "Authorization"
    auth_template: str = "Bearer {credential}"
    two_phase_cancel: bool = False
    partial_refund: bool = True
    poll_first_s: float | None = None
    poll_last_s: float | None = None


def complaints(config: PlatformConfig) -> Iterator[Complaint]:
    """What the shapes alone do not tell; parts of a wrong shape are left to those who check shapes."""
    given = config.options
    yield from text_secret(config.webhook_secret)
    for part, (hole, needed) in _HOLES.items():
        call = given.get(part)
        if isinstance(call, dict):
            yield from _call(config, part, call, hole, needed)
    yield from _header("auth_header", given.get("auth_header"))
    yield from header_value("auth_template", given.get("auth_template"))
    statuses = given.get("statuses")
    known = sorted(s.wire for s in Status if s is not Status.EMPTY)
    for word, ours in statuses.items() if isinstance(statuses, dict) else ():
        if isinstance(ours, str) and ours not in known:
            message = _("Option '%(option)s': '%(status)s' is none of ours: %(known)s")
            said = {"option": f"statuses.{word}"[:100], "status": ours[:50]}
            yield _complaint(message, **said, known=", ".join(known))


def _call(
    config: PlatformConfig, part: str, call: dict[str, object], hole: str, needed: bool
) -> Iterator[Complaint]:
    url, method = call.get("url"), call.get("method")
    if isinstance(url, str):
        yield from _url(config, f"{part}.url", url, hole, needed)
    if isinstance(method, str) and method not in _METHODS:
        message = _("Option '%(option)s' is one of %(known)s")
        yield _complaint(message, option=f"{part}.method", known=", ".join(_METHODS))
    yield from _header(f"{part}.reference_header", call.get("reference_header"))


def _url(
    config: PlatformConfig, option: str, url: str, hole: str, needed: bool
) -> Iterator[Complaint]:
    found = HOLE.findall(url)
    if needed and hole not in found:
        message = _("Option '%(option)s' needs %(hole)s, where ours goes in")
        yield _complaint(message, option=option, hole=f"{{{hole}}}")
    for other in dict.fromkeys(found):
        if other != hole:
            message = _("Option '%(option)s': %(other)s means nothing here; %(hole)s does")
            yield _complaint(message, option=option, other=f"{{{other[:50]}}}", hole=f"{{{hole}}}")
    if not url.startswith("/") and not _same_origin(config.base_url, url):
        message = _(
            "Option '%(option)s' is a path below `base_url` that begins with /, or an address of the same host"
        )
        yield _complaint(message, option=option)


def _same_origin(base_url: str, url: str) -> bool:
    try:
        return split(base_url) == split(HOLE.sub("x", url))
    except TargetRefused:
        return False


def _header(option: str, name: object) -> Iterator[Complaint]:
    if isinstance(name, str) and name and _TOKEN.fullmatch(name) is None:
        message = _("Option '%(option)s' is the name of a header: letters, digits and `-`")
        yield _complaint(message, option=option)


def _complaint(message: str, **params: object) -> Complaint:
    return Complaint(field="options", message=message, params=params)
