"""Server-sent events: `GET /events`, `/events/{queue}`, `/queues/{queue}/events`, `/events/job/{id}`.

An answer that does not end. Each event has an id; a client that comes back with the last one it saw, in the header
`Last-Event-ID` as browsers do by themselves, is told what it missed, or that it missed something that nobody can tell
any more. The format: WHATWG HTML, section 9.2.
"""

import asyncio
from typing import Final

import structlog

from flashq.api.http.asgi import Scope, Send, respond
from flashq.api.http.failures import Headers, HttpFailure
from flashq.api.http.live.hub import Hub
from flashq.api.http.live.listener import Listener
from flashq.api.http.live.records import Stream
from flashq.api.http.live.subscription import Subscription
from flashq.api.http.live.targets import Target, positions_of, query_of, wanted_kinds
from flashq.api.http.marks import CLIENT
from flashq.api.statuses import status_of
from flashq.errors import FlashqError

log = structlog.get_logger()
_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"),
    (b"connection", b"close"),
]  # fmt: skip
_FORM: Final = Stream()


async def serve(hub: Hub, scope: Scope, send: Send, target: Target, principal: str) -> None:
    """Serve one stream, until its client leaves or we stop. Raises HttpFailure."""
    if scope["method"] not in ("GET", "HEAD"):
        raise HttpFailure(405, "Method not allowed", (b"allow", b"GET, HEAD"))
    kinds = wanted_kinds(query_of(scope["query_string"]))
    last = dict(scope["headers"]).get(b"last-event-id", b"").decode("latin-1")
    if scope["method"] == "HEAD":
        await respond(send, 200, list(_HEADERS), b"")
        return
    client = scope[CLIENT]
    listener = hub.enter(client, _FORM.lagged, comments=True)
    try:
        saw = positions_of(last) if last else None
        subscription = await hub.subscribe(client, principal, listener, _FORM, target, kinds=kinds, saw=saw)
        client.waits = True  # so that it need not send anything more to be known as gone
        try:
            await _told(send, listener, subscription, came_back=bool(last))
        finally:
            subscription.end()
    finally:
        client.waits = False
        hub.leave(client, listener)


async def _told(send: Send, listener: Listener, subscription: Subscription, *, came_back: bool) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    # Shown at once, so that who is cut off before the first event can come back to here.
    opening = b":\nid: %b\n\n" % subscription.id.encode() if not came_back else b":\n\n"
    await send({"type": "http.response.body", "body": opening, "more_body": True})
    catching_up = asyncio.create_task(_caught_up(listener, subscription)) if came_back else None
    try:
        while parts := await listener.take():
            await send({"type": "http.response.body", "body": b"".join(parts), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if catching_up is not None:
            catching_up.cancel()


async def _caught_up(listener: Listener, subscription: Subscription) -> None:
    try:
        await subscription.catch_up()
    except Exception:  # a bug of ours must not end in silence: the log has it, the client comes back
        log.exception("a stream could not be told what it missed")
        listener.end()


def refused(error: FlashqError) -> HttpFailure:
    """The answer where a stream cannot be."""
    return HttpFailure(status_of(error.code, real=True), str(error))
