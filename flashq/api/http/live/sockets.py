"""WebSockets: `/ws` and `/ws/{queue}` with an event a message, `/ws/dashboard` with a snapshot each few seconds.

What a client sends is ignored, but for the first message of one that showed no token while tokens are configured:
`{"type":"auth","token":…}`. A browser cannot show one in any other way that does not stand in an address.
"""

import asyncio
from typing import Final, Literal

import msgspec
import structlog

from flashq.access.access import Access
from flashq.access.needs import STREAMS
from flashq.api.http.asgi import Receive, Scope, Send
from flashq.api.http.calls import Client
from flashq.api.http.cors import Cors
from flashq.api.http.failures import UNAUTHENTICATED, HttpFailure
from flashq.api.http.headers import Seen
from flashq.api.http.live.dashboard import Dashboard
from flashq.api.http.live.hub import Hub
from flashq.api.http.live.listener import GOING, Listener
from flashq.api.http.live.records import Messages
from flashq.api.http.live.streams import refused
from flashq.api.http.live.targets import Target, of_socket, query_of, wanted_kinds
from flashq.api.http.marks import CLIENT
from flashq.errors import FlashqError, LockedOut, Unauthenticated

log = structlog.get_logger()
V1: Final = b"/api/v1"
POLICY: Final = 1008
LATER: Final = 1013
_FORM: Final = Messages()


class _Auth(msgspec.Struct):
    type: Literal["auth"]
    token: str


_auth: Final = msgspec.json.Decoder(_Auth).decode


class Sockets:
    """The WebSockets of one process."""

    def __init__(self, hub: Hub, dashboard: Dashboard, *, access: Access, cors: Cors, auth_s: float) -> None:
        """`auth_s`: how long a client may take to show its token."""
        self._hub = hub
        self._dashboard = dashboard
        self._access = access
        self._cors = cors
        self._auth_s = auth_s

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one, from its handshake to its end."""
        await receive()  # websocket.connect
        real = scope["raw_path"].startswith(V1)
        try:
            try:
                await self._admitted(scope, receive, send, scope["raw_path"].removeprefix(V1))
            except FlashqError as error:
                raise refused(error) from None
        except HttpFailure as failure:
            await _refuse(send, failure, real=real)
        except OSError:
            return  # uvicorn's word for a client that has gone
        except Exception:  # a bug of ours must not end in silence: the log has it
            log.exception("a WebSocket failed", path=scope["path"])
            raise

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, path: bytes) -> None:
        seen = Seen(scope["headers"])
        if seen.origin and not self._cors.may_act(seen.origin, scope["headers"]):
            raise HttpFailure(403, "Pages of this origin may not do this: see cors_allow_origin")
        query = query_of(scope["query_string"])
        # Without a token it may still show one; it learns nothing before that, not even which paths there are.
        client = scope[CLIENT]
        principal = ""
        if not self._access.required or seen.authorization or "token" in query:
            principal = seen.principal(self._access, client.host, query.get("token", ""))
        target = of_socket(path)
        if target is None:
            raise HttpFailure(404, "Not found")
        kinds = wanted_kinds(query)
        accepted = _Accepted(send)
        if not principal:
            await accepted.now()
            principal = await self._first_message(receive, client.host)
            if not principal:
                await send({"type": "websocket.close", "code": POLICY, "reason": UNAUTHENTICATED})
                return
        client.principal = principal
        try:
            await self._listen(client, principal, receive, accepted, target, kinds)
        except (HttpFailure, FlashqError) as error:
            if not accepted.done:
                raise
            await send({"type": "websocket.close", "code": LATER, "reason": str(error)[:100]})

    async def _first_message(self, receive: Receive, host: str) -> str:
        """Who shows a token in it; empty: nobody."""
        try:
            message = await asyncio.wait_for(receive(), self._auth_s)
        except TimeoutError:
            return ""
        if message["type"] != "websocket.receive":
            return ""
        try:
            shown = _auth(message.get("text") or message.get("bytes") or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""
        try:
            return self._access.admit(shown.token, host)
        except (Unauthenticated, LockedOut):
            return ""

    async def _listen(
        self, client: Client, principal: str, receive: Receive, accepted: "_Accepted", target: Target,
        kinds: frozenset[str] | None,
    ) -> None:  # fmt: skip
        if target.dashboard:
            self._access.check_need(principal, STREAMS["WS /ws/dashboard"])
        listener = self._hub.enter(client, _FORM.lagged, comments=False)
        try:
            if target.dashboard:
                end = self._dashboard.watch(listener)
            else:
                subscription = await self._hub.subscribe(client, principal, listener, _FORM, target, kinds=kinds)
                end = subscription.end
            try:
                await accepted.now()
                await _converse(receive, accepted.send, listener)
            finally:
                end()
        finally:
            self._hub.leave(client, listener)


class _Accepted:
    """A handshake, and whether it has been answered."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.done = False

    async def now(self) -> None:
        """Answer it with yes, if it has not been."""
        if not self.done:
            self.done = True
            await self.send({"type": "websocket.accept"})


async def _converse(receive: Receive, send: Send, listener: Listener) -> None:
    speaking = asyncio.create_task(_speak(send, listener))
    try:
        while (await receive())["type"] != "websocket.disconnect":
            continue
    finally:
        listener.leave()
        await speaking


async def _speak(send: Send, listener: Listener) -> None:
    try:
        while parts := await listener.take():
            for part in parts:
                await send({"type": "websocket.send", "text": part.decode()})
        await send({"type": "websocket.close", "code": GOING})
    except OSError:
        listener.leave()  # the client has gone
    except RuntimeError as error:
        listener.leave()
        # What is sent after the client has closed; uvicorn has no type of its own for it.
        if "Unexpected ASGI message" not in str(error):
            raise


async def _refuse(send: Send, failure: HttpFailure, *, real: bool) -> None:
    status, headers, body = failure.answer(real=real)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
