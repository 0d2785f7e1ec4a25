"""The OpenAPI document, written from the tables of routes: what is served and what is described cannot part."""

import re
import types
from collections.abc import Sequence
from typing import Annotated, Any, Final, ForwardRef, Union, get_args, get_origin

import msgspec
from msgspec import Raw

from flashq import __version__
from flashq.api.http.fields import TYPES
from flashq.api.http.pages.page import Page
from flashq.api.http.table import Route
from flashq.api.statuses import STATUS_OF
from flashq.protocol.command_base import JobOptions
from flashq.protocol.happenings import KINDS

Schema = dict[str, Any]
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_PLAIN: Final[dict[Any, Schema]] = {
    str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"}, float: {"type": "number"},
    type(None): {"type": "null"}, Raw: {},
}  # fmt: skip
_INTRO: Final = """\
A job queue server. `POST /queues/{queue}/jobs` pushes a job, `GET /queues/{queue}/jobs` waits for one and pulls it,
`POST /jobs/{id}/ack` says that it is done.

Every answer in JSON is `{"ok":true,"data":…}` or `{"ok":false,"error":"…","code":"…"}`. Each route is there twice:
under `/api/v1`, where every failure has its real status, and without that prefix, where a command that is refused is
answered with status 200 and `"ok":false`, as older clients expect. Every request that changes something may carry
`Idempotency-Key`: the same key within ten minutes gets the first answer again and changes nothing.
"""
_KEY: Final[Schema] = {
    "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 512},
    "description": "The same key gets the first answer again, and changes nothing.",
}  # fmt: skip


def schema_of(kind: Any, depth: int = 3) -> Schema:
    """The JSON Schema of a field's type. Structs are written out, `depth` of them within each other."""
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        meta = args[1]
        bounds = {"minimum": meta.ge, "maximum": meta.le}
        return schema_of(args[0]) | {name: bound for name, bound in bounds.items() if bound is not None}
    if origin is list:
        return {"type": "array", "items": schema_of(args[0], depth)}
    if origin in (Union, types.UnionType):
        return _any_of([schema_of(one, depth) for one in args])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and depth:
        return _object(kind, depth - 1)
    assert isinstance(kind, ForwardRef | str | type), kind
    return {"type": "object"}


def _any_of(schemas: list[Schema]) -> Schema:
    if len(schemas) == 2 and schemas[1] == {"type": "null"} and isinstance(schemas[0].get("type"), str):
        return schemas[0] | {"type": [schemas[0]["type"], "null"]}
    return {"anyOf": schemas}


def _object(kind: type[msgspec.Struct], depth: int) -> Schema:
    found = msgspec.structs.fields(kind)
    whole: Schema = {"type": "object", "properties": {f.encode_name: schema_of(f.type, depth) for f in found}}
    needed = [f.encode_name for f in found if f.required]
    return whole | {"required": needed} if needed else whole


def document(routes: Sequence[Route], pages: Sequence[Page]) -> Schema:
    """The whole document."""
    paths: dict[str, Schema] = {}
    for route in routes:
        for path in (route.path, *route.also):
            paths.setdefault(path, {})[route.method.lower()] = _of_route(route, path)
    for page in pages:
        paths.setdefault(page.path, {})[page.method.lower()] = _of_page(page)
    for path, summary in STREAMS.items():
        paths[path] = {"get": _of_stream(path, summary)}
    paths["/command"] = {"post": _COMMAND}
    return {
        "openapi": "3.1.0",
        "info": {"title": "flashq", "version": __version__, "description": _INTRO, "license": {"name": "MIT"}},
        "servers": [{"url": "/api/v1", "description": "With real statuses"}],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Failure": _FAILURE, "JobOptions": _object(JobOptions, 1)},
            "responses": {str(status): _failure(status) for status in sorted({*STATUS_OF.values(), 405, 415, 422})},
        },
    }


_FAILURE: Final[Schema] = {
    "type": "object", "required": ["ok", "error", "code"],
    "properties": {"ok": {"const": False}, "error": {"type": "string"}, "code": {"enum": list(STATUS_OF)}},
}  # fmt: skip


def _failure(status: int) -> Schema:
    codes = [code for code, one in STATUS_OF.items() if one == status] or ["invalid"]
    schema = {"$ref": "#/components/schemas/Failure"}
    return {"description": f"Refused: {', '.join(codes)}", "content": {"application/json": {"schema": schema}}}


def _responses(data: Any, statuses: Sequence[int], *, plain: bool = False) -> Schema:
    if plain and isinstance(data, str):
        content: Schema = {"text/plain": {"schema": {"type": "string"}, "example": data}}
    else:
        wrapped = {"type": "object", "required": ["ok", "data"], "properties": {"ok": {"const": True}, "data": {}}}
        schema = {"type": "object"} if plain else wrapped
        content = {"application/json": {"schema": schema, "example": data if plain else {"ok": True, "data": data}}}
    found: Schema = {"200": {"description": "Done", "content": content}}
    return found | {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _operation(method: str, path: str, group: str, summary: str, responses: Schema) -> Schema:
    name = re.sub(r"\W+", "_", path.replace("-", "__")).strip("_")
    return {
        "operationId": f"{method.lower()}_{name}", "tags": [group], "summary": summary, "responses": responses,
    }  # fmt: skip


def _of_route(route: Route, path: str) -> Schema:
    kinds = TYPES[route.command]

    def kind_of(name: str) -> Any:
        return kinds[route.renamed.get(name, name)]

    statuses = (400, 401, 404, 405, 409, 413, 415, 422, 429, 500, 503, 504)
    whole = _operation(route.method, path, route.group, route.summary, _responses(route.data, statuses))
    parameters = [_parameter(name, "path", kind_of(name)) for name in _PARAMETER.findall(path)]
    parameters += [_parameter(name, "query", kind_of(name)) for name in route.query]
    if route.method != "GET":
        parameters.append(_KEY)
    whole["parameters"] = parameters
    if route.need or route.may:
        schema: Schema = {
            "type": "object", "properties": {name: schema_of(kind_of(name)) for name in (*route.need, *route.may)},
        }  # fmt: skip
        if route.need:
            schema["required"] = list(route.need)
        content = {"application/json": {"schema": schema, "example": route.body}}
        whole["requestBody"] = {"required": bool(route.need), "content": content}
    return whole


def _parameter(name: str, where: str, kind: Any) -> Schema:
    schema = schema_of(kind)
    if "null" in schema.get("type", ()):
        schema["type"] = schema["type"][0]  # in a path or query there is no null
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _of_page(page: Page) -> Schema:
    statuses = (400, 401, 403, 404, 405, 413, 415, 422, 500, 503)
    responses = _responses(page.data, statuses, plain=page.plain)
    whole = _operation(page.method, page.path, page.group, page.summary, responses)
    whole["parameters"] = [_parameter(name, "path", str) for name in _PARAMETER.findall(page.path)]
    if page.kind is not None:
        content = {"application/json": {"schema": _object(page.kind, 1), "example": page.body}}
        whole["requestBody"] = {"required": True, "content": content}
    return whole


STREAMS: Final = {
    "/events": "Everything that happens",
    "/events/{queue}": "What happens in a queue",
    "/queues/{queue}/events": "What happens in a queue",
    "/events/job/{id}": "What happens to a job",
}


def _of_stream(path: str, summary: str) -> Schema:
    example = 'id: 0-17-42\nevent: completed\ndata: {"event_type":"completed","queue":"mail","job_id":1024,…}\n\n'
    responses: Schema = {
        "200": {"description": "Server-sent events, without end",
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": example}}},
    }  # fmt: skip
    responses |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in (400, 401, 404, 405, 503)}
    whole = _operation("GET", path, "Events", summary, responses)
    kinds = ", ".join(KINDS)
    whole["parameters"] = [
        *(_parameter(name, "path", int if name == "id" else str) for name in _PARAMETER.findall(path)),
        _parameter("events", "query", str) | {"description": f"Only these, with commas between them, of {kinds}"},
        _parameter("token", "query", str) | {"description": "In place of the header, which browsers cannot set here"},
        {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"},
         "description": "The last event seen: what was missed since then comes first"},
    ]  # fmt: skip
    return whole


_COMMAND: Final[Schema] = _operation(
    "POST", "/command", "Commands", "Any command of the protocol; its reply as it is (also at /api/command)",
    {"200": {"description": "The reply", "content": {"application/json": {
        "schema": {"type": "object", "required": ["ok"]}, "example": {"ok": True, "id": 1024, "success": True}}}},
     **{str(s): {"$ref": f"#/components/responses/{s}"} for s in sorted({*STATUS_OF.values(), 405, 415, 422})}},
) | {
    "parameters": [_KEY],
    "requestBody": {"required": True, "content": {"application/json": {
        "schema": {"type": "object", "required": ["cmd"], "properties": {"cmd": {"enum": sorted(TYPES)}}},
        "example": {"cmd": "PUSH", "queue": "mail", "data": {"to": "a"}}}}},
}  # fmt: skip
