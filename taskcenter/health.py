"""Probes: `/healthz` says that the process answers, `/readyz` that it can serve."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from taskcenter import env


@never_cache
@require_safe
def alive(_request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers; looks at nothing else."""
    return JsonResponse({"status": "ok", "instance": env.text("TASKCENTER_INSTANCE")})


@never_cache
@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """200 when PostgreSQL answers, else 503. Redis may be down: submits go on without it."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        body = {"status": "unavailable", "postgres": "down"}
        return JsonResponse(body, status=503, headers={"Retry-After": "5"})
    return JsonResponse({"status": "ok", "postgres": "up"})
