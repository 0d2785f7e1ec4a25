"""Requests for all that can be asked, made from the tables: what tests of access walk."""

import os
from typing import Any

from flashq.api.http.table import ROUTES, Route
from flashq.protocol import commands as c
from tests.integration.web import Web
from tests.integration.wire import TEXT, Wire

ROOT = "root-token-of-all-rights-0123456789"


class World:
    """Something of everything: a queue with a job, a cron, a key."""

    def __init__(self, root: Wire, prefix: str) -> None:
        self.root = root
        self.queue = f"{prefix}-q"
        self.key = f"{prefix}-k"
        self.cron = f"{prefix}-c"
        self.name = ""
        self.job_id = 0

    def fresh(self) -> None:
        """A job that nobody has touched, with a name; the cron and the key are there."""
        self.name = os.urandom(8).hex()
        self.job_id = self.root.ok("PUSH", queue=self.queue, data={"secret": self.queue}, job_id=self.name)["id"]
        self.root.ok("CRON", name=self.cron, queue=self.queue, schedule="0 0 1 1 *")
        self.root.ok("KVSET", key=self.key, value=1)

    def fields(self, command: str, token: str) -> dict[str, Any]:
        """The fields of a request that is sound."""
        if command == "GETJOBBYCUSTOMID":
            return {"job_id": self.name}
        if command == "AUTH":
            return {"token": token}
        kind = next(kind for kind in c.ALL if kind.__struct_config__.tag == command)
        known = {
            "queue": self.queue, "id": self.job_id, "ids": [self.job_id], "parent_id": self.job_id, "data": 1,
            "jobs": [{"data": 1}], "count": 1, "progress": 1, "priority": 1, "delay": 1000, "message": "m",
            "key": self.key, "keys": [self.key], "entries": [{"key": self.key, "value": 1}], "value": 1, "ttl": 60_000,
            "name": self.cron, "schedule": "0 0 1 1 *", "children": [{"queue": self.queue}], "grace": 0,
            "limit": 1000, "url": "https://hooks.example/x", "events": ["*"], "webhook_id": "1", "secret": "s" * 32,
        }  # fmt: skip
        found = {name: known[name] for name in kind.__struct_fields__ if name in known}
        if command in ("PULL", "PULLB", "WAITJOB"):
            found["timeout"] = 0
        if command == "CRON":
            del found["limit"], found["priority"], found["delay"], found["ttl"]
        if command in ("PUSH", "FLOW"):
            found = {key: found[key] for key in ("queue", "data", "children") if key in found}
        if command == "RETRYDLQ":
            del found["id"]
        return found

    def path(self, path: str) -> str:
        """A path with its values."""
        job = "custom/{job_id}" in path
        values = {
            "queue": self.queue, "id": self.job_id, "parent_id": self.job_id, "key": self.key, "name": self.cron,
            "job_id": self.name if job else self.job_id,
        }  # fmt: skip
        return path.format(**values)

    def body(self, route: Route) -> Any:
        """A body that is sound."""
        body = dict(route.body or {})
        for name, value in (
            ("ids", [self.job_id]),
            ("job_id", self.job_id),
            ("queue", self.queue),
            ("keys", [self.key]),
        ):
            if name in body:
                body[name] = value
        if "entries" in body:
            body["entries"] = [{"key": self.key, "value": 1}]
        if "children" in body:
            body["children"] = [{"queue": self.queue}]
        body.pop("lease", None)
        return body


def route_of(method: str, path: str) -> Route | None:
    """The row of the table of commands; None for a page."""
    for route in ROUTES:
        if route.method == method and path in (route.path, *route.also):
            return route
    return None


def shown(cluster: Any, token: str, codec: str = TEXT, *, unix: bool = False) -> Wire:
    """A connection that has shown a token; none for an empty one."""
    import socket

    if unix:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(str(cluster.unix_path))
    else:
        sock = cluster.connect()
    wire = Wire(sock, codec)
    if token:
        wire.ok("AUTH", token=token)
    return wire


def made(cluster: Any, name: str, **what: Any) -> str:
    """The secret of a new token."""
    with Web(cluster, ROOT) as web:
        secret: str = web.ok("POST", "/api/v1/tokens", {"name": name, **what})["secret"]
    return secret
