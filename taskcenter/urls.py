"""All routes of the site."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from queues_admin import metrics
from taskcenter import health

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("queues_admin.api.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", metrics.view),
]
if settings.TASKCENTER["DEMO"]:
    urlpatterns.append(path("demo/", include("taskcenter.demo.urls")))
