"""Lists: one shape for all, paged by the last key seen."""

import base64
import binascii
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from jobs.domain.errors import Malformed

T = TypeVar("T")

MOST = 100


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`estimated_total` is exact while it is cheap to be; `next_cursor` is null on the last page."""

    items: list[T]
    next_cursor: str | None
    estimated_total: int


def cursor(key: bytes | str | int) -> str:
    """An opaque cursor for the last key of a page."""
    raw = key if isinstance(key, bytes) else str(key).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def key_bytes(text: str) -> bytes:
    """The key inside a cursor. Raises Malformed."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("The cursor is not one of ours", field="cursor") from error


def key_int(text: str | None) -> int | None:
    """Like `key_bytes` for lists ordered by a number; None stays None."""
    if text is None:
        return None
    raw = key_bytes(text)
    if not raw.isdigit() or len(raw) > 18:
        raise Malformed("The cursor is not one of ours", field="cursor")
    return int(raw)


def at_least(seen: int, more: bool, estimate: int) -> int:
    """An estimate, corrected by the page itself: `seen` items on it, and more to come."""
    return max(estimate, seen + more)


def part(items: Sequence[T], after: str | None, limit: int) -> Page[T]:
    """A page of a list that was read as a whole, in an order that stays; the cursor counts."""
    start = key_int(after) or 0
    more = len(items) > start + limit
    return Page(
        items=list(items[start : start + limit]),
        next_cursor=cursor(start + limit) if more else None,
        estimated_total=len(items),
    )


def whole(items: Sequence[T]) -> Page[T]:
    """A list that is short enough to be one page."""
    return Page(items=list(items), next_cursor=None, estimated_total=len(items))
