"""The settings as on a developer's machine, for tools that load them without an environment (mypy)."""

import os

os.environ.setdefault("DEBUG", "true")

from taskcenter.settings import *  # noqa: F403
