"""WSGI entry point: `granian --interface wsgi taskcenter.wsgi:application`."""

import os
from importlib import import_module

from django.core.wsgi import get_wsgi_application

from taskcenter.logs import announce

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskcenter.settings")

application = get_wsgi_application()
announce()
import_module("queues_admin.house").start()  # needs the applications loaded
