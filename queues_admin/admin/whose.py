"""Whose tasks and accounts a page shows: operators look after all tenants, one at a time (`?tenant=acme`)."""

from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from jobs.domain.errors import NotFound
from jobs.operations import tenants
from jobs.store import catalog


def chosen(request: HttpRequest) -> int:
    """The tenant that the address names, by itself or by one of its queues; else the default one. Raises Http404."""
    slug = request.GET.get("tenant", "").strip().replace("\x00", "")
    if not slug:
        queue = catalog.queues().by_name.get(request.GET.get("queue", ""))
        return queue.tenant_id if queue is not None else catalog.DEFAULT_TENANT
    try:
        return tenants.id_of(slug)
    except NotFound:
        raise Http404(_("There is no such tenant")) from None


def slug(tenant_id: int) -> str:
    """What stands in addresses for it: nothing for the default tenant."""
    return "" if tenant_id == catalog.DEFAULT_TENANT else catalog.tenant(tenant_id).slug
