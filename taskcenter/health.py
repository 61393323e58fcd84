"""Probes: `/healthz` says that the process answers, `/readyz` that it can serve."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from jobs.selectors import secrets
from taskcenter import env


@never_cache
@require_safe
def alive(_request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers; looks at nothing else."""
    return JsonResponse({"status": "ok", "instance": env.text("TASKCENTER_INSTANCE")})


@never_cache
@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """200 when PostgreSQL answers and the keys are not all wrong, else 503. Redis may be down: submits go on."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        found = secrets.unopened()
    except DatabaseError:
        connection.close()
        body = {"status": "unavailable", "postgres": "down"}
        return JsonResponse(body, status=503, headers={"Retry-After": "5"})
    if found is None or not found.here:
        return JsonResponse({"status": "ok", "postgres": "up"})
    told = f"cannot open {found.here} of {found.looked_at} stored secrets: key missing"
    word, status = ("unavailable", 503) if found.all_lost else ("ok", 200)
    return JsonResponse({"status": word, "postgres": "up", "secrets": told}, status=status)
