"""The suite's clients over other doors: each speaks as `Peer` does, so that a test does not see which it has.

- http: `POST /api/command`, one connection.
- routes: the HTTP route of a command where it has one that can say all of a request; else as http.
- grpc: a session of CommandService, one channel for all.

What a test needs and a door has not is said in `absent.py`; such tests are not run there.
"""

import json
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, get_args
from urllib.parse import quote, urlencode

import grpc

from flashq.api.grpc import commands_pb2 as pb
from flashq.api.grpc.commands_pb2_grpc import CommandServiceStub
from flashq.api.http.fields import TYPES
from flashq.api.http.table import ROUTES, Route
from flashq.api.statuses import CODE_OF
from tests.conformance.peer import READ_S, TEXT, Peer, Reply, packed
from tests.integration.calls import Conversation

KEY_MAX: Final = 512
"""Characters; a longer key is refused in words about the header."""
SESSION_S: Final = 100.0
"""Longer than any test."""


class HttpPeer(Peer):
    """One connection to the HTTP door."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, TEXT)

    def frame(self, body: bytes) -> None:
        """One command, as a body of any bytes."""
        self.request("POST", "/api/command", body)

    def send(self, cmd: str, **fields: Any) -> None:
        """One command, without waiting for its reply."""
        self.frame(packed(TEXT, {"cmd": cmd, **fields}))

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Any request."""
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
        if method in ("POST", "PUT", "PATCH"):
            lines.append("content-type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.raw("\r\n".join((*lines, "", "")).encode() + body)

    def read_bytes(self) -> bytes:
        """The body of the next answer; what the door itself refused, in words alone, is put as a reply."""
        status = int(self._line().split(b" ")[1])
        size, kind = 0, b""
        while line := self._line().rstrip(b"\r"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
            elif name.lower() == b"content-type":
                kind = value.strip()
        body = self._take(size)
        if kind.startswith(b"application/json"):
            return body
        assert status >= 400, (status, body)
        return json.dumps({"ok": False, "error": body.decode(), "code": CODE_OF[status]}).encode()


class RoutesPeer(HttpPeer):
    """As `HttpPeer`, by the routes."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._shapes: list[str] = []
        """The commands whose answers are still to come; empty: a reply as it is."""

    def frame(self, body: bytes) -> None:
        """One command, as a body of any bytes."""
        self._shapes.append("")
        super().frame(body)

    def send(self, cmd: str, **fields: Any) -> None:
        """One command, without waiting for its reply."""
        asked = routed(cmd, fields)
        if asked is None:
            super().send(cmd, **fields)
            return
        self._shapes.append(cmd)
        self.request(*asked)

    def read(self) -> Reply:
        """The next reply, with as much in it as an answer says."""
        answer = super().read()
        cmd = self._shapes.pop(0)
        if not cmd or answer["ok"] is False:
            return answer
        fields = _REPLY_OF[cmd](answer.pop("data"))
        return {**answer, **fields, "success": True}


def _key(name: str) -> Callable[[Any], Reply]:
    return lambda data: {name: data}


def _nothing(data: Any) -> Reply:
    assert data is None, data
    return {}


def _whole(data: Any) -> Reply:
    return dict(data)


_REPLY_OF: Final[dict[str, Callable[[Any], Reply]]] = {
    **dict.fromkeys(
        (
            *("PAUSE", "RESUME", "RATELIMIT", "RATELIMITCLEAR", "SETCONCURRENCY", "CLEARCONCURRENCY", "ACK", "FAIL"),
            *("PROGRESS", "HEARTBEAT", "CANCEL", "LOG", "PARTIAL", "CHANGEPRIORITY", "MOVETODELAYED", "UPDATEJOB"),
            *("PROMOTE", "DISCARD", "CRON", "KVSET"),
        ),
        _nothing,
    ),
    **dict.fromkeys(("COUNT", "PURGEDLQ", "DRAIN", "OBLITERATE", "CLEAN", "KVMSET"), _key("count")),
    **dict.fromkeys(("RETRYDLQ", "ACKB"), lambda data: {"count": data, "ids": [data]}),
    **dict.fromkeys(("DLQ", "GETJOBS", "GETJOBSBATCH", "PULLB"), _key("jobs")),
    **dict.fromkeys(("KVEXISTS", "KVDEL", "KVEXPIRE"), _key("exists")),
    **dict.fromkeys(("KVGET", "KVINCR"), _key("value")),
    **dict.fromkeys(("GETRESULT", "WAITJOB"), _key("result")),
    **dict.fromkeys(("GETJOBCOUNTS", "FLOW", "STATS"), _whole),
    **dict.fromkeys(("GETJOB", "GETJOBBYCUSTOMID"), lambda data: {"job": data["job"], "state": data["state"]}),
    "PULL": lambda data: {"job": data[0] if data else None},
    "PUSH": lambda data: {"id": data["id"]},
    "PUSHB": _key("ids"),
    "LISTQUEUES": _key("queues"),
    "ISPAUSED": _key("paused"),
    "GETPROGRESS": lambda data: {"progress": dict(zip(("progress", "message"), data, strict=True))},
    "GETSTATE": _key("state"),
    "GETLOGS": _key("logs"),
    "HISTORY": _key("history"),
    "CRONLIST": _key("crons"),
    "KVTTL": _key("ttl"),
    "KVKEYS": _key("keys"),
    "KVMGET": _key("values"),
}
"""Command -> what the `data` of an answer was in its reply. Those whose refusals read otherwise are not here."""

_ROUTES_OF: Final[dict[str, list[Route]]] = {}
for _route in ROUTES:
    _ROUTES_OF.setdefault(_route.command, []).append(_route)
_ROUTES_OF["PULL"] = _ROUTES_OF["PULLB"]


def routed(cmd: str, fields: Mapping[str, Any]) -> tuple[str, str, bytes, dict[str, str]] | None:
    """Method, path, body and headers of a route that says all of this; None if none does."""
    if cmd not in _REPLY_OF or (cmd == "PULLB" and fields.get("count") in (None, 1)):
        return None  # a pull of one by the route is a PULL
    if cmd == "PUSH" and "data" not in fields:
        return None  # by the route it may be left out
    for route in _ROUTES_OF[cmd]:
        found = _said(route, dict(fields))
        if found is not None:
            return found
    return None


def _said(route: Route, left: dict[str, Any]) -> tuple[str, str, bytes, dict[str, str]] | None:
    path, headers = route.path, {}
    key = left.pop("idempotency_key", None)
    if isinstance(key, str) and key.isascii() and key.isprintable() and key == key.strip() and 0 < len(key) <= KEY_MAX:
        headers["idempotency-key"] = key
    elif key is not None:
        return None
    names = {route.renamed.get(name, name): name for name in (*_names_in(path), *route.query, *route.need, *route.may)}
    body: dict[str, Any] = {}
    query: dict[str, str] = {}
    for field, value in left.items():
        name = names.get(field)
        if name is None:
            return None
        in_body = name in route.need or name in route.may
        if in_body:
            body[name] = value
        elif value in (None, "", ".", "..") or type(value) not in _kinds(route.command, field):
            return None  # in an address all is text: what is of a wrong type cannot be said there
        elif f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(str(value), safe="", errors="surrogatepass"))
        else:
            query[name] = str(value)
    if "{" in path or any(name not in body for name in route.need):
        return None
    if query:
        path += "?" + urlencode(query)
    return route.method, path, json.dumps(body).encode() if body or route.need else b"", headers


def _kinds(command: str, field: str) -> tuple[Any, ...]:
    kind = TYPES[command][field]
    return (kind, *get_args(kind))


def _names_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


class GrpcPeer(Peer):
    """One session of CommandService."""

    def __init__(self, channel: grpc.Channel, codec: str) -> None:
        self.codec = codec
        self._kind = pb.CODEC_JSON if codec == TEXT else pb.CODEC_MSGPACK
        self._talk = Conversation(CommandServiceStub(channel).Session, timeout=SESSION_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._talk.end()
        self._talk.came.cancel()

    def frame(self, body: bytes) -> None:
        """One message around any bytes."""
        self._talk.send(pb.CommandRequest(payload=body, codec=self._kind))

    def send(self, cmd: str, **fields: Any) -> None:
        """One command, without waiting for its reply."""
        self.frame(packed(self.codec, {"cmd": cmd, **fields}))

    def read_bytes(self) -> bytes:
        """The payload of the next reply."""
        return bytes(next(self._talk.came).payload)


def http_peer(kind: type[HttpPeer], port: int) -> HttpPeer:
    """A connection of this kind to the HTTP door."""
    return kind(socket.create_connection(("127.0.0.1", port), READ_S))
