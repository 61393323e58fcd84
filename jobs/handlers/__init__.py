"""How work is declared: `@task` registers a typed function under a name."""

from jobs.domain.limits import Limit
from jobs.handlers.context import Context
from jobs.handlers.failure import Failure
from jobs.handlers.registry import Aggregate, Handler, task

__all__ = ["Aggregate", "Context", "Failure", "Handler", "Limit", "task"]
