"""OpenAPI 3.1, generated from the table of routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from tricorn.api.http.bodies import ProgressLine
from tricorn.api.http.examples import EXAMPLES
from tricorn.api.http.query import Kind, Query
from tricorn.api.http.replies import BYTES, JSON, NDJSON
from tricorn.api.http.routing import Route, Shape
from tricorn.errors import BY_CODE, Internal, InvalidArgument, PermissionDenied, TricornError, Unavailable
from tricorn.frames import PROTOCOL
from tricorn.model.ids import Digest
from tricorn.model.requests import OperationView

_REFERENCE: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_ALWAYS: Final = (InvalidArgument, PermissionDenied, Internal, Unavailable)
_KINDS: Final[Mapping[Kind, dict[str, Any]]] = {
    "text": {"type": "string"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "number": {"type": "number", "minimum": 0},
    "integer": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
}


def build_document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Return the whole description of `routes`."""
    routes = tuple(routes)
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tricorn",
            "version": version,
            "description": "The container runtime agent of one node. Served on its unix socket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://tricorn", "description": "any host name will do on the unix socket"}],
        "paths": paths,
        "components": {"schemas": schemas.components},
    }


class _Schemas:
    """The JSON schemas of all classes that the routes name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        classes: dict[type[Any], None] = {OperationView: None, ProgressLine: None}
        for route in routes:
            classes.update(dict.fromkeys(cls for cls in (route.result, route.body) if cls))
        schemas, components = msgspec.json.schema_components(
            list(classes), schema_hook=_schema_of, ref_template=_REFERENCE
        )
        self._of = dict(zip(classes, schemas, strict=True))
        self.components: dict[str, Any] = {**components, "Problem": _problem_schema()}
        for route in routes:
            if route.body is not None:
                self._close(route.body)

    def of(self, cls: type[Any]) -> dict[str, Any]:
        return dict(self._of[cls])

    def _close(self, body: type[Any]) -> None:
        """Unknown keys of requests are refused: say so."""
        schema = self.components[body.__name__]
        schema["additionalProperties"] = False
        if body.__name__ in EXAMPLES:
            schema["examples"] = [EXAMPLES[body.__name__]]


def _schema_of(cls: type[Any]) -> dict[str, Any]:
    if cls is Digest:
        return {"type": "string", "pattern": "^sha(256|384|512):[0-9a-f]+$"}
    raise NotImplementedError(cls)


_EXAMPLE: Final = InvalidArgument(
    "unknown key 'imgae' in the request", hint="known keys: image", field="imgae"
)


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "title": "Problem",
        "description": "RFC 9457. `code` is the class, `hint` the remedy, `field` the input at fault.",
        "type": "object",
        "properties": {
            "type": text, "title": text, "status": {"type": "integer"}, "detail": text, "what": text,
            "why": text, "hint": text, "field": text, "code": {"type": "string", "enum": sorted(BY_CODE)},
            "details": {"type": "object"},
        },
        "required": ["type", "title", "status", "detail", "code", "what"],
        "examples": [_EXAMPLE.problem()],
    }  # fmt: skip


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _identity(route),
        "summary": route.summary,
        "description": f"Needs the role `{route.role.label}` ({route.scope.value}).",
        "tags": [_tag(route)],
        "parameters": [*_path_parameters(route), *map(_query_parameter, route.query), *_modes(route)],
        "responses": {**_success(route, schemas), **_failures(route)},
    }
    if route.body is not None:
        schema = schemas.of(route.body)
        component = schemas.components[route.body.__name__]
        operation["requestBody"] = {
            "required": bool(component.get("required")) and not route.upgradable,
            "content": {JSON: {"schema": schema}},
        }
    if route.raw:
        schema = {"type": "string", "format": "binary"}
        operation["requestBody"] = {"required": True, "content": {BYTES: {"schema": schema}}}
    return operation


def _identity(route: Route) -> str:
    words = [
        part.strip("{}").replace(".", "_") for part in route.path.split("/") if part not in {"", "v1", "{ns}"}
    ]
    scoped = "all_" if route.path in {"/v1/events", "/v1/stats"} else ""
    return f"{route.method.lower()}_{scoped}{'_'.join(words)}"


def _tag(route: Route) -> str:
    parts = [part for part in route.path.split("/") if part and part not in {"v1", "{ns}"}]
    return parts[0] if parts[0] in _TAGS else "node"


_TAGS: Final = frozenset(
    [
        "namespaces", "images", "archive", "containers", "content", "snapshots", "leases", "operations",
        "events", "gc",
    ]
)  # fmt: skip


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in route.names
    ]


def _query_parameter(query: Query) -> dict[str, Any]:
    schema = dict(_KINDS[query.kind])
    if query.choices:
        schema["enum"] = list(query.choices)
    if query.default not in (None, ()):
        schema["default"] = query.default
    parameter = {"name": query.name, "in": "query", "required": query.required, "schema": schema}
    return {**parameter, "description": query.summary}


def _modes(route: Route) -> list[dict[str, Any]]:
    if not route.long:
        return []
    text = "`respond-async` answers 202 with the operation at once"
    return [{"name": "Prefer", "in": "header", "schema": {"type": "string"}, "description": text}]


def _success(route: Route, schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if route.shape is not Shape.UPGRADE:
        responses[str(route.status)] = {"description": "done", "content": _content(route, schemas)}
    if route.upgradable:
        responses["101"] = {"description": f"the connection speaks {PROTOCOL} from here on"}
    if route.long:
        responses["202"] = {
            "description": "under way", "content": {JSON: {"schema": schemas.of(OperationView)}},
            "headers": {"Location": {"schema": {"type": "string"}, "description": "the operation"}},
        }  # fmt: skip
    return responses


def _content(route: Route, schemas: _Schemas) -> dict[str, Any]:
    if route.shape is Shape.TEXT:
        return {"text/plain": {"schema": {"type": "string"}}}
    if route.shape is Shape.BYTES:
        return {BYTES: {"schema": {"type": "string", "format": "binary"}}}
    if route.result is None:
        return {JSON: {"schema": {"type": "object"}}}
    schema = schemas.of(route.result)
    if route.shape is Shape.LINES:
        return {NDJSON: {"schema": schema}}
    if route.shape is Shape.LIST:
        return {JSON: {"schema": _listed(schema)}}
    content = {JSON: {"schema": schema}}
    if route.shape is Shape.PAGE:
        content[NDJSON] = {"schema": {"type": "object", "description": 'an event, or {"lost": n}'}}
    if route.long:
        content[NDJSON] = {"schema": schemas.of(ProgressLine)}
    return content


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": schema}, "cursor": {"type": ["integer", "null"]}},
        "required": ["items", "cursor"],
    }


def _failures(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[type[TricornError]]] = {}
    errors: tuple[type[TricornError], ...] = (*_ALWAYS, *route.errors)
    for error in dict.fromkeys(errors):
        by_status.setdefault(error.http, []).append(error)
    return {
        str(status): {
            "description": ", ".join(error.code for error in classes),
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
        for status, classes in sorted(by_status.items())
    }
