"""Structured logs: structlog and the standard library end in one stream on stderr, JSON or console.

Context (request_id, trace_id, task_id, attempt, queue, worker) is bound with `bind(...)` and appears on
every line of the same request or run. Payloads and secrets never reach the stream.
"""

from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, Processor

from taskcenter import env

_SECRET_WORDS = ("password", "token", "secret", "authorization", "credential", "api_key", "cookie")
_NAMES_SHOWN = 20
_NEVER = {"payload", "body", "result"}


def hide_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Mask what is named like a secret and what requests asked for; drop payloads, also one level down."""
    return _hidden(event)


def _hidden(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in list(event.items()):
        name = str(key).lower()
        if name in _NEVER:
            del event[key]
        elif any(word in name for word in _SECRET_WORDS):
            event[key] = env.MASK
        elif isinstance(value, dict):
            event[key] = _hidden(dict(value))
        elif hasattr(value, "GET") and hasattr(value, "path"):
            event[key] = _without_values(value)
    return event


def _without_values(request: Any) -> str:
    """A request whose query says what was asked by, not for what: a search names payloads and people."""
    names = [f"{name}={env.MASK}" for name in list(request.GET)[:_NAMES_SHOWN]]
    return f"{request.method} {request.path}{'?' if names else ''}{'&'.join(names)}"


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def bind(**context: object) -> AbstractContextManager[None]:
    """Add context to every log line written inside the `with` block."""
    return bound_contextvars(**context)


def configure(log_format: str, level: str) -> dict[str, Any]:
    """Set structlog up and return the matching LOGGING dictionary for Django."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            hide_secrets,  # here too: logging prints records raw when a handler fails
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder()],
                "processors": _rendering(log_format),
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": _loggers(level),
    }


def _rendering(log_format: str) -> list[Processor]:
    first: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        hide_secrets,
    ]
    if log_format == "json":
        return [
            *first,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    # rich tracebacks would print local variables: payloads, tokens
    plain = structlog.dev.plain_traceback
    return [*first, structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]


def _loggers(level: str) -> Mapping[str, Any]:
    quiet = {"level": "WARNING", "propagate": True, "handlers": []}
    return {
        "django": {"level": level, "propagate": True, "handlers": []},
        "django.server": quiet,
        "aiohttp": quiet,
        "rq.worker": quiet,
        "rq_scheduler": quiet,
        "asyncio": quiet,
    }


def announce() -> None:
    """Log the settings in force, once per process, secrets masked."""
    structlog.get_logger("taskcenter").info("Effective settings", settings=dict(env.effective()))
