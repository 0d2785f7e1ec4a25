"""Requests as maps: our names turn into the wire's here, and nowhere else in the client."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from flashq.client.objects import PushOptions
from flashq.errors import InvalidArgument

Request = dict[str, object]

_WIRE_NAMES: Final[Mapping[str, str]] = {
    name: name.removesuffix("_ms") for name in PushOptions.__annotations__ if name != "idempotency_key"
}


def push(queue: str, data: object, options: PushOptions) -> Request:
    """PUSH. Raises InvalidArgument for an option nobody knows."""
    request: Request = {"cmd": "PUSH", "queue": queue, "data": data, **_options(options)}
    if key := options.get("idempotency_key"):
        request["idempotency_key"] = key
    return request


def push_batch(queue: str, data: Sequence[object], each: Sequence[PushOptions], common: PushOptions) -> Request:
    """PUSHB; `each`, if not empty, has the options of one job after the other, which win over the common ones."""
    if each and len(each) != len(data):
        raise InvalidArgument(f"options for {len(each)} jobs, but there are {len(data)}")
    shared = _options(common)
    if each:
        jobs = [{"data": one, **shared, **_options(own)} for one, own in zip(data, each, strict=True)]
    else:
        jobs = [{"data": one, **shared} for one in data]
    request: Request = {"cmd": "PUSHB", "queue": queue, "jobs": jobs}
    if key := common.get("idempotency_key"):
        request["idempotency_key"] = key
    return request


def pull(queue: str, count: int | None, **rest: object) -> Request:
    """PULL, or PULLB of `count`. What is None or False is left to the server."""
    request: Request = {"cmd": "PULL", "queue": queue}
    if count is not None:
        request |= {"cmd": "PULLB", "count": count}
    return request | {name: value for name, value in rest.items() if value is not None and value is not False}


def ack(job_id: int, result: object, lease: int | None) -> Request:
    """ACK."""
    request: Request = {"cmd": "ACK", "id": job_id}
    return request | _given(result=result, lease=lease)


def ack_batch(ids: Sequence[int], results: Sequence[object] | None, leases: Sequence[int | None] | None) -> Request:
    """ACKB."""
    for name, values in (("results", results), ("leases", leases)):
        if values is not None and len(values) != len(ids):
            raise InvalidArgument(f"{len(values)} {name}, but {len(ids)} ids")
    request: Request = {"cmd": "ACKB", "ids": ids}
    return request | _given(results=results, leases=leases)


def fail(job_id: int, error: str | None, lease: int | None) -> Request:
    """FAIL."""
    request: Request = {"cmd": "FAIL", "id": job_id}
    return request | _given(error=error, lease=lease)


def _options(options: PushOptions) -> Request:
    wire: Request = {}
    for name, value in options.items():
        if name in _WIRE_NAMES:
            wire[_WIRE_NAMES[name]] = value
        elif name != "idempotency_key":
            nearest = difflib.get_close_matches(name, PushOptions.__annotations__, n=1, cutoff=0.0)[0]
            raise InvalidArgument(f"unknown option {name}: the nearest known one is {nearest}")
    return wire


def _given(**fields: object) -> Request:
    return {name: value for name, value in fields.items() if value is not None}
