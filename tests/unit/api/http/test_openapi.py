"""The document at /docs: every route, with examples that fit what it says of itself."""

import json
import re
from typing import Any

import pytest

from flashq.api.http.live.targets import is_stream
from flashq.api.http.openapi import STREAMS, document, schema_of
from flashq.api.http.pages.all import PAGES
from flashq.api.http.table import ROUTES
from flashq.protocol import commands

DOCUMENT = document(ROUTES, PAGES)


def operations() -> list[Any]:
    return [
        pytest.param(path, method, whole, id=f"{method} {path}")
        for path, methods in DOCUMENT["paths"].items()
        for method, whole in methods.items()
    ]


def test_every_route_and_page_is_in_it() -> None:
    described = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    served = {(path, route.method.lower()) for route in ROUTES for path in (route.path, *route.also)}
    served |= {(page.path, page.method.lower()) for page in PAGES}
    assert all(is_stream(path.encode()) for path in STREAMS)
    served |= {(path, "get") for path in STREAMS}
    assert described == served | {("/command", "post")}
    json.dumps(DOCUMENT)


def test_operations_have_names_of_their_own() -> None:
    names = [whole["operationId"] for methods in DOCUMENT["paths"].values() for whole in methods.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("path", "method", "whole"), operations())
def test_operation_says_what_it_takes_and_gives(path: str, method: str, whole: dict[str, Any]) -> None:
    assert whole["summary"]
    assert "example" in next(iter(whole["responses"]["200"]["content"].values()))
    in_path = [one["name"] for one in whole.get("parameters", []) if one["in"] == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", path)
    if "requestBody" in whole:
        content = whole["requestBody"]["content"]["application/json"]
        assert set(content["schema"].get("required", [])) <= set(content["example"])
        assert set(content["example"]) <= set(content["schema"]["properties"]) | {"queue", "data"}
    for reference in re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(whole)):
        assert reference[1] in DOCUMENT["components"][reference[0]]


@pytest.mark.parametrize("command", commands.ALL, ids=lambda one: one.__name__)
def test_every_field_of_every_command_has_a_schema(command: Any) -> None:
    schema = schema_of(command)
    assert schema["type"] == "object"
    assert schema["properties"] or not command.__struct_fields__


def test_bounds_of_integers_are_told() -> None:
    bounds = schema_of(commands.Push)["properties"]["priority"]
    assert bounds == {"type": ["integer", "null"], "minimum": -(2**31), "maximum": 2**31 - 1}
