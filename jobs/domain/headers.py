"""Which HTTP headers a caller may have sent along with a callback."""

import re
from collections.abc import Mapping

from jobs.domain.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OF_THE_CONNECTION = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer")
    + ("upgrade", "expect", "proxy-authorization", "proxy-authenticate", "proxy-connection")
)
_OF_THE_SIGNATURE = frozenset(
    ("webhook-id", "webhook-timestamp", "webhook-signature", "x-taskcenter-signature")
)
_OURS = _OF_THE_CONNECTION | _OF_THE_SIGNATURE


def check(headers: Mapping[str, str], *, sent: bool) -> None:
    """Names are HTTP tokens, values have no control characters; those that are `sent` are not ours. Raises Invalid."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not value.isprintable():
            raise Invalid("Header '%(name)s' cannot be sent", name=name, field="headers")
        if sent and is_ours(name):
            raise Invalid(
                "Header '%(name)s' is set by the sender of the callback; leave it out",
                name=name,
                field="headers",
            )


def is_ours(name: str) -> bool:
    """Whether it belongs to the connection or to the signature, whatever a caller says."""
    return name.lower() in _OURS
