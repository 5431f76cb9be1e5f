"""The description is valid, whole, and true of what the server answers."""

from __future__ import annotations

from functools import cache
from typing import Any

import attrs
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from openapi_spec_validator.schemas import openapi_v31_schema_validator
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from referencing import Resource

from tricorn.api.http.openapi import build_document
from tricorn.api.http.routes import ROUTES
from tricorn.api.http.routing import Route, Shape
from tricorn.errors import NotFound
from tricorn_testing.api import DIGEST, LOG, Server

# What a process in a container could see takes the right to run one there.
REVEALING = ("/attach", "/{id}/files", "/{id}/archive")


@cache
def document() -> dict[str, Any]:
    import msgspec

    return dict(msgspec.json.decode(msgspec.json.encode(build_document(ROUTES, "0.1.0"))))


class Validator(OpenAPIV31SpecValidator):
    """The library's own, whose schema is looked through once: it does that at each reference by itself."""

    _schema = Resource.from_contents(openapi_v31_schema_validator.schema)
    _registry = openapi_v31_schema_validator._registry.with_resource(_schema.id(), _schema).crawl()
    schema_validator = openapi_v31_schema_validator.evolve(_resolver=_registry.resolver(_schema.id()))


def test_is_valid_openapi() -> None:
    validate(document(), cls=Validator)


def test_what_is_no_openapi_is_found_out() -> None:
    wrong = {**document(), "info": {}}
    with pytest.raises(OpenAPIValidationError, match="'title' is a required property"):
        validate(wrong, cls=Validator)


def test_has_every_route_and_no_other() -> None:
    described = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for item in document()["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names)) == len(ROUTES)


def test_request_classes_are_closed_and_have_examples() -> None:
    for route in ROUTES:
        if route.body is not None:
            schema = document()["components"]["schemas"][route.body.__name__]
            assert schema["additionalProperties"] is False
            for example in schema["examples"]:
                check(example, {"$ref": f"#/components/schemas/{route.body.__name__}"})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_answer_has_bytes_or_directories(route: Route) -> None:
    """Bytes (a container's raw spec) and names of directories aren't the clients' business."""
    for cls in classes_below(route.result):
        for field in attrs.fields(cls):
            assert field.name != "backend_id"
            assert "bytes" not in str(field.type).replace("content_bytes", "") or field.type is int


def test_changing_routes_need_more_than_reading() -> None:
    for route in ROUTES:
        assert route.changes == (route.method != "GET" or route.path.endswith(REVEALING))


def classes_below(cls: Any) -> set[type[Any]]:
    if cls is None or not attrs.has(cls):
        return set()
    resolved = attrs.resolve_types(cls)
    found = {cls}
    for field in attrs.fields(resolved):
        for inner in (field.type, *getattr(field.type, "__args__", ())):
            found |= classes_below(inner)
    return found


def check(instance: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": document()["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(instance)


BODIES: dict[str, Any] = {
    "/v1/{ns}/images": {"reference": "redis"},
    "/v1/{ns}/images/{name}/push": {"reference": "registry.example/redis:7"},
    "/v1/{ns}/images/{name}/tag": {"reference": "registry.example/redis:7"},
    "/v1/{ns}/images/{name}/tags": {"references": ["registry.example/redis:7"]},
    "/v1/{ns}/archive/export": {"path": "/srv/a.tar", "images": ["redis"]},
    "/v1/{ns}/archive/import": {"path": "/srv/a.tar"},
    "/v1/{ns}/content/{digest}": {"labels": {"a": "b"}},
    "/v1/{ns}/leases/{lease}": {"labels": {"a": "b"}},
    "/v1/{ns}/leases/{lease}/resources": {"type": "images", "id": "redis"},
    "/v1/{ns}/containers": {"desired": {"image": "redis"}},
    "/v1/{ns}/containers/{id}": {"image": "redis"},
    "/v1/{ns}/containers/{id}/exec": {"args": ["true"]},
    "/v1/{ns}/containers/{id}/resize": {"rows": 1, "columns": 2},
    "/v1/namespaces/{namespace}": {"labels": {}},
}
PLAIN = [
    r
    for r in ROUTES
    if r.shape in {Shape.ONE, Shape.LIST, Shape.PAGE, Shape.LINES} and "operation}" not in r.path
]


def target(route: Route) -> str:
    values = {"{ns}": "default", "{id}": "web", "{digest}": str(DIGEST)}
    path = route.path
    for name in route.names:
        path = path.replace(f"{{{name}}}", values.get(f"{{{name}}}", "x"))
    return path + ("?object=image/x" if path.endswith("explain") else "")


@pytest.mark.parametrize("route", PLAIN, ids=lambda route: f"{route.method} {route.path}")
async def test_answers_are_as_described(server: Server, route: Route) -> None:
    server.world.stream_items = [LOG]
    body = BODIES.get(route.path) if route.body else None
    answer = await server.request(route.method, target(route), body)
    described = document()["paths"][route.path][route.method.lower()]["responses"][str(answer.status)]
    media = answer.headers["content-type"]
    schema = described["content"][media]["schema"]
    for instance in answer.lines() if media.endswith("ndjson") else [answer.json()]:
        check(instance, schema)


@pytest.mark.parametrize("route", PLAIN, ids=lambda route: f"{route.method} {route.path}")
async def test_problems_are_as_described(server: Server, route: Route) -> None:
    answer = await server.request(route.method, target(route) + ("&x=1" if "?" in target(route) else "?x=1"))
    described = document()["paths"][route.path][route.method.lower()]["responses"][str(answer.status)]
    check(answer.json(), described["content"]["application/problem+json"]["schema"])


async def test_long_work_is_as_described(server: Server) -> None:
    schemas = document()["paths"]["/v1/{ns}/images"]["put"]["responses"]
    body = {"reference": "redis"}
    accepted = await server.request("PUT", "/v1/default/images", body, {"Prefer": "respond-async"})
    check(accepted.json(), schemas["202"]["content"]["application/json"]["schema"])
    server.world.failures["images.put"] = NotFound("no")
    for _ in range(2):
        lines = await server.request("PUT", "/v1/default/images", body, {"Accept": "application/x-ndjson"})
        for line in lines.lines():
            check(line, schemas["200"]["content"]["application/x-ndjson"]["schema"])
        server.world.failures.clear()


async def test_served_document_is_the_generated_one(server: Server) -> None:
    answer = await server.request("GET", "/v1/openapi.json")
    assert answer.json() == document()
