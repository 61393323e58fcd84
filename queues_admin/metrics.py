"""`/metrics`: the guide's names and ours from the stores, and django-prometheus's own of this process beside them."""

import hmac
import ipaddress
import os
from collections.abc import Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from jobs.selectors.figures import Figure, figures
from queues_admin.api import auth


class StoreCollector(Collector):
    """Everything that the stores know, read at each scrape: counters survive any process."""

    def collect(self) -> Iterator[Metric]:
        return map(_metric, figures())

    def describe(self) -> list[Metric]:
        return []


_stores = CollectorRegistry(auto_describe=False)
_stores.register(StoreCollector())


@never_cache
@require_safe
def view(request: HttpRequest) -> HttpResponse:
    """200 whatever is down; 403 for callers that a token or network rule keeps out."""
    if not _allowed(request):
        return HttpResponse("forbidden\n", status=403, content_type="text/plain")
    text = generate_latest(_stores) + generate_latest(_own())
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def _own() -> CollectorRegistry:
    """This process' registry, or that of all web processes."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def _metric(figure: Figure) -> Metric:
    names = [name for name, _ in figure.samples[0][0]] if figure.samples else []
    family: CounterMetricFamily | GaugeMetricFamily
    if figure.kind == "counter":
        family = CounterMetricFamily(figure.name, figure.help, labels=names)
    else:
        family = GaugeMetricFamily(figure.name, figure.help, labels=names)
    for labels, value in figure.samples:
        family.add_metric([text for _, text in labels], value)
    return family


def _allowed(request: HttpRequest) -> bool:
    """Open unless a token or networks are set; then open on loopback, to the token and to the networks."""
    token: str = settings.TASKCENTER.get("METRICS_TOKEN", "")
    networks: list[str] = settings.TASKCENTER.get("METRICS_NETWORKS", [])
    if not token and not networks:
        return True
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and hmac.compare_digest(given.encode(), token.encode()):
        return True
    try:
        address = ipaddress.ip_address(auth.address(request))
    except ValueError:
        return False
    return address.is_loopback or any(
        address in ipaddress.ip_network(n, strict=False) for n in networks
    )
