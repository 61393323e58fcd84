"""The one table from error class to HTTP status, and how an error becomes an answer."""

from collections.abc import Mapping
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import translation

from jobs.domain import errors
from jobs.domain.errors import TaskCenterError
from queues_admin.api import envelope

log = structlog.get_logger("api")

# Looked up along the class's ancestors: the nearest entry counts.
STATUS: dict[type[TaskCenterError], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.InsufficientCredits: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Invalid: 422,
    errors.QueueFull: 429,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.StaleEpoch: 503,
    errors.Misconfigured: 500,
    TaskCenterError: 500,
}
RETRY_AFTER_S = 5


class MethodNotAllowed(TaskCenterError):
    """This method is not allowed here."""

    code = "method_not_allowed"


class Internal(TaskCenterError):
    """Something went wrong on our side; it has been logged."""

    code = "internal"


STATUS[MethodNotAllowed] = 405


def status_of(error: type[TaskCenterError]) -> int:
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


def respond(request: HttpRequest, raised: Exception) -> HttpResponse:
    """The answer for whatever a view raised; what nobody expected is logged and shown without internals."""
    error = _known(raised)
    status = status_of(type(error))
    if status >= 500:
        log.error(
            "request failed",
            path=request.path,
            code=error.code,
            exc_info=raised if status == 500 else None,
        )
    request_id = getattr(request, "request_id", "")
    message, headers = text(error), _headers(error, status)
    details = details_of(error)
    if "application/problem+json" in request.headers.get("Accept", ""):
        body = {
            "type": f"urn:taskcenter:error:{error.code}",
            "title": _title(type(error)),
            "status": status,
            "detail": message,
            "instance": request.path,
            "code": error.code,
            "details": details,
            "request_id": request_id,
        }
        return envelope.problem(status, body, headers)
    shown = {"code": error.code, "details": details, "request_id": request_id}
    return envelope.failure(status, message, shown, headers)


def brief(error: TaskCenterError) -> dict[str, Any]:
    """An error inside a batch's answer."""
    return {"code": error.code, "message": text(error), "details": details_of(error)}


def details_of(error: TaskCenterError) -> Mapping[str, Any] | None:
    """What helps to mend the call; of a wrong request always an object, of several faults each with its message."""
    if error.faults:
        return {"faults": [{**fault.details, "message": text(fault)} for fault in error.faults]}
    return error.details or ({} if status_of(type(error)) == 422 else None)


def text(error: TaskCenterError) -> str:
    """The message in the caller's language; words of a library stay English, behind the error's translated title."""
    if error.faults:
        return f"{translation.gettext(error.template)}: {'; '.join(map(text, error.faults))}"
    title, said = _title(type(error)), translation.gettext(error.template)
    shown = errors.filled(said, error.details)
    if said != error.template or title == _doc(type(error)):
        return shown
    return f"{title} {shown}"


def _title(error: type[TaskCenterError]) -> str:
    return translation.gettext(_doc(error))


def _doc(error: type[TaskCenterError]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]


def _headers(error: TaskCenterError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="taskcenter"'}
    if status in (429, 503):
        return {"Retry-After": str(getattr(error, "retry_after_s", RETRY_AFTER_S))}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(map(str, error.details["allowed"]))}  # type: ignore[call-overload]
    return {}


def _known(raised: Exception) -> TaskCenterError:
    if isinstance(raised, TaskCenterError):
        return raised
    if isinstance(raised, OperationalError | InterfaceError):
        log.warning("database unavailable", error=str(raised).strip())
        return errors.Unavailable()
    if isinstance(raised, RequestDataTooBig):
        return errors.TooLarge("The body is too large")
    if isinstance(raised, UnreadablePostError):
        return errors.Malformed("The body could not be read")
    if isinstance(raised, SuspiciousOperation):  # Django's limits, such as the number of parameters
        return errors.Malformed("The request is beyond what is read of one")
    if isinstance(raised, DataError):
        log.warning("value refused by the database", error=str(raised).strip())
        return errors.Invalid("A value is out of its range")
    if isinstance(raised, IntegrityError):
        log.warning("conflict found by the database", error=str(raised).strip())
        return errors.Conflict()
    return Internal()
