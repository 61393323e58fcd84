"""Moving the unfinished tasks of an older system into the center, each once."""

from jobs.operations.migration.mapping import load
from jobs.operations.migration.run import Job, migrate
from jobs.operations.migration.startup import migrate_if_asked

__all__ = ["Job", "load", "migrate", "migrate_if_asked"]
