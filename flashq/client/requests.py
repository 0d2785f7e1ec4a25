"""Requests as maps: our names turn into the wire's here, and nowhere else in the client."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from flashq.client.objects import FlowChild, PushOptions
from flashq.errors import InvalidArgument

Request = dict[str, object]

_WIRE_NAMES: Final[Mapping[str, str]] = {
    **{name: name.removesuffix("_ms") for name in PushOptions.__annotations__ if name != "idempotency_key"},
    "custom_id": "job_id",
}
_OF_CHILD: Final = ("queue", "data", "children", "ignore_failure")


def push(queue: str, data: object, options: PushOptions) -> Request:
    """PUSH. Raises InvalidArgument for an option nobody knows."""
    return {"cmd": "PUSH", "queue": queue, "data": data, **_options(options), **_key(options)}


def push_batch(queue: str, data: Sequence[object], each: Sequence[PushOptions], common: PushOptions) -> Request:
    """PUSHB; `each`, if not empty, has the options of one job after the other, which win over the common ones."""
    if each and len(each) != len(data):
        raise InvalidArgument(f"options for {len(each)} jobs, but there are {len(data)}")
    shared = _options(common)
    if each:
        jobs = [{"data": one, **shared, **_options(own)} for one, own in zip(data, each, strict=True)]
    else:
        jobs = [{"data": one, **shared} for one in data]
    return {"cmd": "PUSHB", "queue": queue, "jobs": jobs, **_key(common)}


def flow(queue: str, data: object, children: Sequence[FlowChild], options: PushOptions) -> Request:
    """FLOW. Raises InvalidArgument for an option nobody knows, or a key of a child alone."""
    nested = [_child(each) for each in children]
    return {"cmd": "FLOW", "queue": queue, "data": data, "children": nested, **_options(options), **_key(options)}


def cron(name: str, queue: str, data: object, schedule: Request, options: PushOptions) -> Request:
    """CRON. `schedule`: its fields on the wire, None where the server decides."""
    own = given_fields(**schedule)
    return {"cmd": "CRON", "name": name, "queue": queue, "data": data, **own, **_options(options), **_key(options)}


def pull(queue: str, count: int | None, **rest: object) -> Request:
    """PULL, or PULLB of `count`. What is None or False is left to the server."""
    request: Request = {"cmd": "PULL", "queue": queue}
    if count is not None:
        request |= {"cmd": "PULLB", "count": count}
    return request | {name: value for name, value in rest.items() if value is not None and value is not False}


def ack(job_id: int, result: object, lease: int | None) -> Request:
    """ACK."""
    request: Request = {"cmd": "ACK", "id": job_id}
    return request | given_fields(result=result, lease=lease)


def ack_batch(ids: Sequence[int], results: Sequence[object] | None, leases: Sequence[int | None] | None) -> Request:
    """ACKB."""
    for name, values in (("results", results), ("leases", leases)):
        if values is not None and len(values) != len(ids):
            raise InvalidArgument(f"{len(values)} {name}, but {len(ids)} ids")
    request: Request = {"cmd": "ACKB", "ids": ids}
    return request | given_fields(results=results, leases=leases)


def fail(job_id: int, error: str | None, lease: int | None) -> Request:
    """FAIL."""
    request: Request = {"cmd": "FAIL", "id": job_id}
    return request | given_fields(error=error, lease=lease)


def given(cmd: str, **fields: object) -> Request:
    """A command with the fields that are not None."""
    return {"cmd": cmd, **given_fields(**fields)}


def _child(child: FlowChild) -> Request:
    if "idempotency_key" in child:
        raise InvalidArgument("idempotency_key: a flow is pushed as a whole, and has one for all")
    own: Request = {name: value for name, value in child.items() if name in _OF_CHILD}
    if "children" in child:
        own["children"] = [_child(each) for each in child["children"]]
    return own | _options({name: value for name, value in child.items() if name not in _OF_CHILD})


def _key(options: PushOptions) -> Request:
    return given_fields(idempotency_key=options.get("idempotency_key"))


def _options(options: Mapping[str, object]) -> Request:
    wire: Request = {}
    for name, value in options.items():
        if name in _WIRE_NAMES:
            wire[_WIRE_NAMES[name]] = value
        elif name != "idempotency_key":
            nearest = difflib.get_close_matches(name, PushOptions.__annotations__, n=1, cutoff=0.0)[0]
            raise InvalidArgument(f"unknown option {name}: the nearest known one is {nearest}")
    return wire


def given_fields(**fields: object) -> Request:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
