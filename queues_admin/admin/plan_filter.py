"""What a plan is to be made of, as the task list's address says it."""

from typing import Any
from urllib.parse import urlencode

import msgspec
from django.http import Http404, HttpRequest
from django.urls import reverse

from jobs.selectors import plans
from jobs.selectors.plans import PlanFilter
from jobs.selectors.task_filters import TaskFilter


def wanted_by(request: HttpRequest) -> PlanFilter:
    """The filter in the address."""
    known = {*TaskFilter.__struct_fields__, "states"} - {"payload"}
    given: dict[str, Any] = {
        name: str(text).replace("\x00", "")[:512]
        for name, text in request.GET.dict().items()
        if name in known and text
    }
    if given.get("internal") == "all":
        del given["internal"]
    if "states" in given:
        given["states"] = given["states"].split(",")
    if "ids" in request.GET:
        given["ids"] = [text.replace("\x00", "")[:512] for text in request.GET.getlist("ids")]
    try:
        return plans.filter_of(given)
    except msgspec.ValidationError:
        raise Http404 from None


def list_url(request: HttpRequest) -> str:
    """Back to the list: `list` is the query that it was asked with, else the filter is."""
    if "list" in request.GET:
        return f"{reverse('admin:jobs_task_changelist')}?{request.GET['list']}"
    kept = {name: text for name, text in request.GET.items() if name not in ("action", "states")}
    return f"{reverse('admin:jobs_task_changelist')}?{urlencode(kept)}"
