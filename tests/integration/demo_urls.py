"""The site's routes with the demo's, as under `make run`."""

from django.urls import include, path

from taskcenter.urls import urlpatterns as site

urlpatterns = [path("demo/", include("taskcenter.demo.urls")), *site]
