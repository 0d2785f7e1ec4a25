"""The table of routes: every row stands for a command that there is, with fields that it has."""

import json
import re

import pytest

from flashq.api.http import fields
from flashq.api.http.failures import HttpFailure
from flashq.api.http.plans import plan_of
from flashq.api.http.routing import Tree
from flashq.api.http.table import ROUTES, Route
from flashq.protocol import commands
from flashq.protocol.codec import check_text

ROWS = [pytest.param(route, id=f"{route.method} {route.path}") for route in ROUTES]
VALUES = {"queue": b"mail", "name": b"morning", "key": b"k", "job_id": b"custom"}


def params_of(route: Route) -> list[bytes]:
    return [VALUES.get(name, b"1024") for name in re.findall(r"\{(\w+)\}", route.path)]


@pytest.mark.parametrize("route", ROWS)
def test_row_names_fields_that_its_command_has(route: Route) -> None:
    types = fields.TYPES[route.command]
    named = {*route.need, *route.may, *route.query, *re.findall(r"\{(\w+)\}", route.path)}
    assert {route.renamed.get(name, name) for name in named} <= set(types)


@pytest.mark.parametrize("route", ROWS)
def test_example_of_a_row_becomes_a_command_that_shards_can_read(route: Route) -> None:
    """What /docs shows has to work; and no body may bring a field that the row does not name."""
    body = json.dumps({**(route.body or {}), "cmd": "OBLITERATE", "reqId": "x", "unheard": 1}).encode()
    frame = plan_of(route).command(params_of(route), b"", body, None).frame
    check_text(frame)
    assert b"\n" not in frame
    command = commands.full_text(frame)
    tag = "PULL" if route.command == "PULLB" else route.command
    assert type(command).__struct_config__.tag == tag
    assert command.reqId is commands.ABSENT or not bytes(command.reqId)
    for key, value in (route.body or {}).items():
        assert key in {*route.need, *route.may}, "the example has a key that its row does not"
        assert getattr(command, route.renamed.get(key, key)) is not None or value is None


@pytest.mark.parametrize("route", ROWS)
def test_tree_finds_every_path(route: Route) -> None:
    tree = Tree()
    for path in (route.path, *route.also):
        raw = re.sub(r"\{(\w+)\}", lambda m: VALUES.get(m[1], b"1024").decode(), path)
        found = tree.find(raw.encode())
        assert found is not None
        assert found.params == params_of(route)
        assert found.plans[route.method].route is route


@pytest.mark.parametrize("path", [b"/", b"", b"/queues/", b"/queues//jobs", b"/queue", b"/jobs/1/nothing", b"//jobs"])
def test_tree_knows_no_other_path(path: bytes) -> None:
    assert Tree().find(path) is None


def test_head_takes_no_jobs() -> None:
    found = Tree().find(b"/queues/q/jobs")
    assert found is not None
    assert sorted(found.plans) == ["GET", "POST"]
    states = Tree().find(b"/jobs/1/state")
    assert states is not None
    assert sorted(states.plans) == ["GET", "HEAD"]


def push(body: bytes, *, queue: bytes = b"q", key: str | None = None) -> bytes:
    found = Tree().find(b"/queues/%b/jobs" % queue)
    assert found is not None
    return found.plans["POST"].command(found.params, b"", body, key).frame


@pytest.mark.parametrize(
    ("body", "frame"),
    [
        (b'{"data":{"a": 1.50}}', b'{"cmd":"PUSH","queue":"q","data":{"a": 1.50}}'),
        (b'{"data":\n[1,\r\n2]\n}', b'{"cmd":"PUSH","queue":"q","data":[1,2]}'),
        (b'{"data":1,"priority":3}', b'{"cmd":"PUSH","data":1,"priority":3,"queue":"q"}'),
        (b'{"data":1,"queue":"other","cmd":"DRAIN"}', b'{"cmd":"PUSH","data":1,"queue":"q"}'),
        (b"{}", b'{"cmd":"PUSH","queue":"q","data":null}'),
        (b'{"data":"\xc3\xa9"}', b'{"cmd":"PUSH","queue":"q","data":"\xc3\xa9"}'),
    ],
)
def test_payload_goes_on_as_it_came_and_the_path_has_the_last_word(body: bytes, frame: bytes) -> None:
    assert commands.full_text(push(body)) == commands.full_text(frame)
    assert bytes(commands.full_text(push(body)).data) == bytes(commands.full_text(frame).data)


def test_queue_of_the_path_is_percent_decoded_and_encoded_as_json() -> None:
    assert commands.full_text(push(b'{"data":1}', queue=b"a%2Fb%22%C3%A9")).queue == 'a/b"é'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400), (b'{"data":1}x', 400), (b'{"data":"a\nb"}', 400), (b'{"data":"\xff"}', 400), (b"[1]", 422),
        (b'{"data":1,"priority":"high"}', 422), (b'{"data":1,"delay":-1}', 422), (b'{"data":' + b"[" * 5000, 400),
    ],
)  # fmt: skip
def test_body_that_is_no_json_is_400_and_of_the_wrong_shape_422(body: bytes, status: int) -> None:
    with pytest.raises(HttpFailure) as caught:
        push(body)
    assert caught.value.status == status
    assert caught.value.text.startswith("Invalid: ")


@pytest.mark.parametrize("query", [b"count=x", b"count=-1", b"count=0", b"count=1.5", b"timeout=99999999999999999999"])
def test_query_of_the_wrong_kind_is_400(query: bytes) -> None:
    found = Tree().find(b"/queues/q/jobs")
    assert found is not None
    with pytest.raises(HttpFailure) as caught:
        found.plans["GET"].command(found.params, query, b"", None)
    assert caught.value.status == 400


def test_id_that_is_no_number_is_400() -> None:
    found = Tree().find(b"/jobs/seven/state")
    assert found is not None
    with pytest.raises(HttpFailure) as caught:
        found.plans["GET"].command(found.params, b"", b"", None)
    assert caught.value.status == 400
    assert "`id`" in caught.value.text


def test_key_of_the_header_goes_along() -> None:
    assert commands.full_text(push(b'{"data":1}', key="k-1")).idempotency_key == "k-1"
