"""Broken answers of a platform, made from a good one."""

from typing import Any

from taskcenter.demo.stub_http import Reply

HUGE_BYTES = 6_000_000
KINDS = (
    "html",
    "204",
    "nan",
    "infinite",
    "huge",
    "truncated",
    "list",
    "deep",
    "nul",
    "no_status",
    "number_status",
    "empty_status",
    "unknown_status",
    "backwards",
    "success_then_failed",
    "wrong_id",
    "redirect",
    "500",
    "drop",
    "hang",
)


def broken(kind: str, good: dict[str, Any], polls: int) -> Reply:
    """The answer to the n-th poll (`polls` counts from 1), broken as `kind` says."""
    raw = _RAW.get(kind)
    if raw is not None:
        return Reply(body=raw)
    changed = _CHANGED.get(kind)
    if changed is not None:
        return Reply(body=good | changed)
    return _other(kind, good, polls)


def _other(kind: str, good: dict[str, Any], polls: int) -> Reply:
    match kind:
        case "html":
            return Reply(body=b"<html>all is well</html>", content_type="text/html")
        case "204":
            return Reply(status=204)
        case "500":
            return Reply(status=500, body={"detail": "broken"})
        case "redirect":
            return Reply(
                status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}
            )
        case "backwards":
            return Reply(body=good | {"status": ("processing", "starting")[(polls - 1) % 2]})
        case "success_then_failed":
            return Reply(body=good | {"status": "succeeded" if polls == 1 else "failed"})
        case "huge":
            return Reply(body=good | {"logs": "x" * HUGE_BYTES})
        case "drop":
            return Reply(drop=True)
        case "hang":
            return Reply(delay_s=120.0, drop=True)
        case "no_status":
            return Reply(body={name: value for name, value in good.items() if name != "status"})
    raise ValueError(f"no such fault: {kind}")


_RAW = {
    "nan": b'{"id": "x", "status": "processing", "metrics": {"t": NaN}}',
    "infinite": b'{"id": "x", "status": "processing", "metrics": {"t": 1e999}}',
    "truncated": b'{"id": "x", "status": "succ',
    "list": b'["succeeded"]',
    "deep": b'{"status": "succeeded", "output": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}
_CHANGED: dict[str, dict[str, Any]] = {
    "wrong_id": {"id": "somebody-elses", "status": "succeeded"},
    "unknown_status": {"status": "pondering"},
    "empty_status": {"status": ""},
    "number_status": {"status": 7},
    "nul": {"status": "succeeded", "output": "a\0b", "error": None},
}
