"""The OpenAPI 3.1 document, made from the same types that parse and answer."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from drf_spectacular.generators import SchemaGenerator

from queues_admin.api import errors

if TYPE_CHECKING:
    from queues_admin.api.endpoint import Endpoint

_REF = "#/components/schemas/{name}"
_ALWAYS = (400, 401, 403, 422, 429, 503)
_BODY = (413,)

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body get the first answer again; another body is 422.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 512},
}

_shapes: list[Any] = []


class NoQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For endpoints without parameters."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    details: dict[str, Any] | None
    request_id: str


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Every error has this shape; `code` never changes."""

    success: bool
    message: str
    error: ErrorInfo


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The same as RFC 9457, for callers that accept `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    details: dict[str, Any] | None
    request_id: str


def operation(spec: "Endpoint", view: Callable[..., Any]) -> dict[str, Any]:
    """One operation object; types are collected for the components."""
    noun, _, verb = view.__qualname__.rpartition(".")
    changes = verb == "post" and bool(spec.scope)
    tag = view.__module__.rpartition(".")[2]
    found: dict[str, Any] = {
        "operationId": f"{tag}_{noun.lower()}_{verb}",
        "tags": [tag],
        "summary": spec.summary,
        "description": f"Needs scope `{spec.scope}`.",
        "parameters": [*_path_parameters(view), *_query_parameters(spec)],
        "security": [{"key": []}],
        "responses": _responses(spec, changes=changes),
    }
    if changes:
        found["parameters"].append(_IDEMPOTENCY_KEY)
    if spec.body is not None:
        found["requestBody"] = {
            "required": not spec.optional_body,
            "content": {"application/json": {"schema": _ref(spec.body)}},
        }
    return found


def document() -> dict[str, Any]:
    """The whole document."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    made: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    made["openapi"] = "3.1.0"
    made["info"] = {
        "title": "Task Center",
        "version": "1",
        "description": "Submit, watch and manage tasks. Messages follow Accept-Language, codes never change.",
    }
    made["components"] = {
        "schemas": _components(),
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer", "bearerFormat": "tc_<env>_<id>_<secret>"}
        },
    }
    made["paths"] = {
        path: item for path, item in made["paths"].items() if path.startswith("/api/v1/")
    }
    return made


@functools.cache
def encoded() -> bytes:
    """The document as JSON; it only changes with the code."""
    return msgspec.json.encode(document())


def _components() -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        [ErrorBody, Problem, *_shapes], ref_template=_REF
    )
    return {name: _with_items(schema) for name, schema in components.items()}


def _with_items(schema: Any) -> Any:
    """Arrays of anything say so: generators of clients do not take a missing `items` for it."""
    if isinstance(schema, list):
        return [_with_items(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: _with_items(part) for name, part in schema.items()}
    return (
        {**whole, "items": {}} if whole.get("type") == "array" and "items" not in whole else whole
    )


def _ref(shape: Any) -> dict[str, Any]:
    _shapes.append(shape)
    [found], _ = msgspec.json.schema_components([shape], ref_template=_REF)
    return found


def _path_parameters(view: Callable[..., Any]) -> list[dict[str, Any]]:
    names = list(inspect.signature(view).parameters)[2:]
    return [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names
    ]


def _query_parameters(spec: "Endpoint") -> list[dict[str, Any]]:
    if spec.query is None:
        return []
    _, components = msgspec.json.schema_components([spec.query], ref_template=_REF)
    shape = components[spec.query.__name__]
    found = [
        {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            "schema": _plain(schema),
        }
        for name, schema in shape["properties"].items()
        if not (spec.prefix and name == "payload")
    ]
    if spec.prefix:
        text = {"type": "object", "additionalProperties": {"type": "string"}}
        note = "Parameters named `payload.<path>`, each compared with that value of the payload."
        found.append(
            {
                "name": "payload.<path>",
                "in": "query",
                "required": False,
                "schema": text,
                "description": note,
            }
        )
    return found


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is there or it isn't; it cannot be null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema


def _responses(spec: "Endpoint", *, changes: bool) -> dict[str, Any]:
    """`changes`: takes an Idempotency-Key, so its first request may still be in work (409)."""
    data = {} if spec.data is None else _ref(spec.data)
    good = {
        "type": "object",
        "required": ["success", "message", "data"],
        "properties": {"success": {"const": True}, "message": {"type": "string"}, "data": data},
    }
    found: dict[str, Any] = {
        str(status): {"description": "Success", "content": {"application/json": {"schema": good}}}
        for status in spec.statuses
    }
    bad = {
        *_ALWAYS,
        *(_BODY if spec.body is not None else ()),
        *((409,) if changes else ()),
        *(errors.status_of(e) for e in spec.raises),
        *([404] if spec.of_any_tenant else []),  # the tenant that was named
    }
    for status in sorted(bad):
        found[str(status)] = _error(status)
    return found


def _error(status: int) -> dict[str, Any]:
    codes = sorted({cls.code for cls in errors.STATUS if errors.STATUS[cls] == status})
    return {
        "description": f"Error: {', '.join(codes)}",
        "content": {
            "application/json": {"schema": {"$ref": _REF.format(name="ErrorBody")}},
            "application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}},
        },
    }
