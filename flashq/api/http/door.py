"""The door: every HTTP request comes here first, and leaves as a command or goes on to the application behind.

Routes that stand for commands are served here, in front of FastAPI's router, which costs as much again as all the rest
of a push. What is about the server itself (health, figures, pages) is FastAPI's, behind the same gate.

Rules kept here
- Nothing of a request is looked at before it is known who asks, but its path.
- One limit for bodies, that of a frame on any door.
- A path under /api/v1 means the route without it, and every failure then has its real status.
"""

from typing import Final

import structlog

from flashq.access.access import SERVER, Access
from flashq.api.http.asgi import (
    App,
    Bodies,
    ClientLeft,
    Message,
    Receive,
    Scope,
    Send,
    discard_body,
    respond,
    too_large,
)
from flashq.api.http.commanding import command_of_body, status_of_reply
from flashq.api.http.compression import compressed
from flashq.api.http.cors import Cors
from flashq.api.http.failures import JSON_TYPE, Headers, HttpFailure
from flashq.api.http.headers import Seen
from flashq.api.http.live import streams
from flashq.api.http.live.hub import Hub
from flashq.api.http.live.sockets import Sockets
from flashq.api.http.live.targets import is_stream, of_stream, query_of
from flashq.api.http.marks import CLIENT, PRINCIPAL, REAL
from flashq.api.http.plans import Plan
from flashq.api.http.routing import Found, Tree
from flashq.api.http.tracing import note_status, span_attributes
from flashq.api.spans import Spans
from flashq.api.ways import Ways
from flashq.errors import FlashqError

log = structlog.get_logger()
V1: Final = b"/api/v1"
COMMAND: Final = (b"/api/command", b"/command")
"""The second is for under /api/v1."""
OPEN: Final = (b"/health", b"/ready", b"/metrics/prometheus")
INCOMING: Final = b"/webhooks/incoming/"
"""Behind it comes the name of a queue, which may be a word of another route."""
OPEN_BELOW: Final = (b"/docs", INCOMING)
"""Paths, and beginnings of paths, that ask for no token."""


_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Door:
    """The ASGI application."""

    def __init__(
        self, ways: Ways, behind: App, *, access: Access, cors: Cors, bodies: Bodies,
        hub: Hub, sockets: Sockets, spans: Spans | None = None,
    ) -> None:  # fmt: skip
        """`behind` serves what is no command."""
        self._ways = ways
        self._behind = behind
        self._access = access
        self._cors = cors
        self._bodies = bodies
        self._hub = hub
        self._sockets = sockets
        self._spans = spans
        self._tree = Tree()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await self._sockets.serve(scope, receive, send)
            return
        path: bytes = scope["raw_path"]
        real = path.startswith(V1)
        if real:
            path = path[len(V1) :]
        seen = Seen(scope["headers"])
        if seen.origin:
            send = self._cors.sending(seen.origin, send)
        try:
            if scope["method"] == "OPTIONS" and seen.origin:
                await respond(send, 200, self._cors.preflight(seen.origin), b"")
            else:
                await self._serve(scope, receive, send, seen, path, real=real)
        except HttpFailure as failure:
            status, headers, body = failure.answer(real=real)
            await respond(send, status, headers, body)
        except ClientLeft:
            return
        except Exception:  # a bug of ours must not end in silence: the log has it, the client gets an answer
            log.exception("a request failed", method=scope["method"], path=scope["path"])
            status, headers, body = HttpFailure(500, "Internal fault; the log has it").answer(real=real)
            await respond(send, status, headers, body)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, seen: Seen, path: bytes, *, real: bool
    ) -> None:  # fmt: skip
        if seen.origin and scope["method"] not in _SAFE and not self._cors.may_act(seen.origin, scope["headers"]):
            raise HttpFailure(403, "Pages of this origin may not do this: see cors_allow_origin")
        if is_stream(path):
            await self._stream(scope, send, seen, path)
            return
        found = None if path.startswith(INCOMING) else self._tree.find(path)
        client = scope[CLIENT]
        # What asks for no token is ours from end to end: it is the server that acts there, not whoever asked.
        client.principal = principal = (
            SERVER if found is None and self._is_open(path) else seen.principal(self._access, client.host)
        )
        if found is not None and self._spans is None:
            await self._command(scope, receive, send, seen, found, principal, real=real)
        elif found is not None:
            await self._traced(scope, receive, send, seen, found, principal, real=real)
        elif path == COMMAND[real]:
            await self._any_command(scope, receive, send, seen, principal, real=real)
        else:
            scope[REAL], scope[PRINCIPAL] = real, principal
            if real:
                scope["path"], scope["raw_path"] = scope["path"][len(V1) :], path
            await self._behind(scope, receive, send)

    async def _stream(self, scope: Scope, send: Send, seen: Seen, path: bytes) -> None:
        """Serve a stream of events; here a token may stand in the address."""
        client, token = scope[CLIENT], query_of(scope["query_string"]).get("token", "")
        client.principal = principal = seen.principal(self._access, client.host, token)
        try:
            await streams.serve(self._hub, scope, send, of_stream(path), principal)
        except FlashqError as error:
            raise streams.refused(error) from None

    def _is_open(self, path: bytes) -> bool:
        return self._access.required and (path in OPEN or path.startswith(OPEN_BELOW))

    async def _command(
        self, scope: Scope, receive: Receive, send: Send, seen: Seen, found: Found, principal: str, *, real: bool
    ) -> None:  # fmt: skip
        plan = found.plans.get(scope["method"])
        if plan is None:
            raise HttpFailure(405, "Method not allowed", (b"allow", ", ".join(found.plans).encode()))
        body = await self._body(receive, seen)
        _check_kind(plan, seen, body)
        command = plan.command(found.params, scope["query_string"], body, seen.key(), seen.trace())
        reply = await self._ways.ask(scope[CLIENT], principal, command)
        follow_up = plan.follow_up(reply)
        if follow_up is not None and (more := await self._ways.ask(scope[CLIENT], principal, follow_up)):
            reply = plan.joined(reply, more)
        if not reply:
            return
        status, body = plan.answer(reply, real=real)
        headers: Headers = [JSON_TYPE]
        if plan.route.long:
            body = await compressed(body, headers, seen.accept_encoding)
        if status == 503:
            headers.append((b"retry-after", b"1"))
        await respond(send, status, headers, body)

    async def _traced(
        self, scope: Scope, receive: Receive, send: Send, seen: Seen, found: Found, principal: str, *, real: bool
    ) -> None:  # fmt: skip
        """As `_command`, in a span."""
        plan = found.plans.get(scope["method"])
        if self._spans is None or plan is None:
            await self._command(scope, receive, send, seen, found, principal, real=real)
            return
        attributes = span_attributes(plan, scope["method"], found.params, scope[CLIENT].host)
        with self._spans.span(plan.route.command, seen.trace() or "", attributes) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    note_status(span, message["status"])
                await send(message)

            try:
                await self._command(scope, receive, noting, seen, found, principal, real=real)
            except HttpFailure as failure:
                note_status(span, failure.status)
                raise
            except ClientLeft:
                span.note("error.type", "client left")
                raise

    async def _any_command(
        self, scope: Scope, receive: Receive, send: Send, seen: Seen, principal: str, *, real: bool
    ) -> None:  # fmt: skip
        if scope["method"] != "POST":
            raise HttpFailure(405, "Method not allowed", (b"allow", b"POST"))
        body = await self._body(receive, seen)
        if not seen.is_json():
            raise _not_json()
        reply = await self._ways.ask(scope[CLIENT], principal, command_of_body(body, seen.key(), seen.trace()))
        if reply:
            await respond(send, status_of_reply(reply, real=real), [JSON_TYPE], reply)

    async def _body(self, receive: Receive, seen: Seen) -> bytes:
        declared = seen.content_length
        if len(declared) > 6 and declared.isdigit() and int(declared) > self._bodies.bytes_max:
            await discard_body(receive)
            raise too_large(int(declared), self._bodies.bytes_max)
        return await self._bodies.read(receive)


def _check_kind(plan: Plan, seen: Seen, body: bytes) -> None:
    """Raise HttpFailure 415 for a body that is not said to be JSON, 400 for one that is missing."""
    if plan.reads_body and (body or plan.needs_body):
        if not seen.is_json():
            raise _not_json()
        if not body:
            raise HttpFailure(400, "Invalid: the body is empty, allowed is a JSON object")


def _not_json() -> HttpFailure:
    return HttpFailure(415, "Expected request with `Content-Type: application/json`")
