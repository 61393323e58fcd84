"""Lists paged by the last id seen: the hundredth page costs what the first one does."""

from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

_M = TypeVar("_M", bound=Model)

SIZE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """`older` and `first` are query strings of the neighbouring pages, None where there is none."""

    items: list[Any]
    older: str | None
    first: str | None


def newest_first(request: HttpRequest, rows: "QuerySet[_M]", size: int = SIZE) -> Slice:
    """A page of rows by falling id; `before` in the query says where it begins."""
    before = request.GET.get("before", "")
    ordered = rows.order_by("-pk")
    if before.isascii() and before.isdecimal() and len(before) < 19:
        ordered = ordered.filter(pk__lt=int(before))
    found = list(ordered[: size + 1])
    more = len(found) > size
    items = found[:size]
    return Slice(
        items=items,
        older=with_query(request, before=str(items[-1].pk)) if more else None,
        first=with_query(request, before=None) if before else None,
    )


def with_query(request: HttpRequest, **changes: str | None) -> str:
    """The present query string with some parameters changed; None removes one."""
    query = request.GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = value
    return f"?{query.urlencode()}"
