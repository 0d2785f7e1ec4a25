"""Routes about the server itself: a table as that of commands, served behind FastAPI's router."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import Request, Response

from flashq.access.access import Access
from flashq.access.needs import need_of_page
from flashq.api.http import fields
from flashq.api.http.calls import Client
from flashq.api.http.failures import JSON_TYPE, HttpFailure
from flashq.api.http.history import History
from flashq.api.http.marks import CLIENT, PRINCIPAL, REAL
from flashq.api.http.workers import Workers
from flashq.api.statuses import status_of
from flashq.api.ways import Command, Ways
from flashq.config import Settings
from flashq.errors import FlashqError, Forbidden, RequestError, Unavailable
from flashq.transport.envelope import Failure
from flashq.transport.shared_memory import SharedState


@dataclass(frozen=True, slots=True)
class Host:
    """What such routes stand on."""

    name: str
    """Of this process."""
    settings: Settings
    state: SharedState
    ways: Ways
    history: History
    workers: Workers
    count: Callable[[], tuple[int, int]]
    """HTTP connections of this process, and requests it has answered."""
    access: Access
    """Who may enter, and do what."""
    changed: Callable[[], None]
    """Has every process of the cluster read its tokens again."""
    restart: Callable[[], None]
    """Has the whole cluster end in order and start anew."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    host: Host
    path: dict[str, str]
    query: dict[str, Any]
    body: Any
    """Decoded as the row says."""
    client: Client
    principal: str
    origin: str
    """Of the page that asks, where a browser does."""
    server: str
    """How the client calls us: the header Host."""
    headers: Mapping[str, str]
    """All of them, by names in lower case."""

    async def tell(self, cmd: str, **values: Any) -> dict[str, Any]:
        """Have a command carried out; its reply. Raises FlashqError if it is refused."""
        frame = msgspec.json.encode({"cmd": cmd, **values})
        reply = await self.host.ways.ask(self.client, self.principal, Command(frame))
        if not reply:
            raise Unavailable("The client has gone")
        found: dict[str, Any] = msgspec.json.decode(reply)
        if not found["ok"]:
            raise Refused(found["error"], found["code"])
        return found

    async def ask_shard(self, shard: int, word: str, value: Any) -> Any:
        """Ask a shard a word that is no command; its answer. Raises Unavailable, Refused."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def came(body: bytes) -> None:
            if not future.done():
                future.set_result(body)

        def failed(failure: Failure) -> None:
            came(b"")

        self.host.ways.forwarder.ask_shard(shard, _encode((word, value)), came, failed)
        body = await future
        if not body:
            raise Unavailable(f"Shard {shard} is unavailable")
        ok, answer, code = _decode_answer(body)
        if not ok:
            raise Refused(str(answer), code)
        return answer


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_answer: Final = msgspec.msgpack.Decoder(tuple[bool, Any, str]).decode


class Refused(RequestError):
    """What a shard refused, with its own code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code  # type: ignore[misc]


Serve = Callable[[Asked], Awaitable[Any]]
"""What a page answers with: `data`, or a `Response` as it is. Raises FlashqError, HttpFailure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One row."""

    method: str
    path: str
    group: str
    summary: str
    serve: Serve
    kind: type[msgspec.Struct] | None = None
    """What the body has to be; None: it has none."""
    query: tuple[str, ...] = ()
    body: Any = None
    """An example."""
    data: Any = None
    """An example of what is answered."""
    raw: str = ""
    """The setting that bounds its body, which is then taken as it is, of whatever kind."""
    plain: bool = False
    """Answered as it is, not as `data`."""


async def answered(page: Page, host: Host, request: Request) -> Response:
    """Serve one request of a page."""
    try:
        host.access.check_need(request.scope[PRINCIPAL], need_of_page(page.method, page.path))
    except FlashqError as error:
        return _refused(request, error)
    body: Any = None
    if page.raw:
        body = await _read_any(request, getattr(host.settings, page.raw))
    elif page.kind is not None:
        try:
            body = msgspec.json.decode(await _read(request, host.settings.frame_bytes_max), type=page.kind)
        except fields.BAD as error:
            raise fields.malformed(error) from None
    scope = request.scope
    query = fields.from_query(scope["query_string"], dict.fromkeys(page.query, str))
    origin, server = request.headers.get("origin", ""), request.headers.get("host", "")
    asked = Asked(
        host, dict(request.path_params), query, body, scope[CLIENT], scope[PRINCIPAL], origin, server, request.headers
    )  # fmt: skip
    try:
        data = await page.serve(asked)
    except FlashqError as error:
        return _refused(request, error)
    if isinstance(data, Response):
        return data
    return json_response(data if page.plain else {"ok": True, "data": data})


def _refused(request: Request, error: FlashqError) -> Response:
    whole = {"ok": False, "error": str(error), "code": str(error.code)}
    return json_response(whole, status_of(error.code, real=request.scope[REAL]))


def check_origin(asked: Asked) -> None:
    """Raise Forbidden for a page of another origin, while everybody may enter: any page a browser shows could ask."""
    if asked.host.access.required or not asked.origin:
        return
    if asked.origin.rpartition("://")[2] != asked.server:
        raise Forbidden(f"Pages of {asked.origin} may not do this while no tokens are configured")


async def _read_any(request: Request, bytes_max: int) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise HttpFailure(413, f"Request body too large (max {bytes_max} bytes)", (b"connection", b"close"))
    return body


async def _read(request: Request, bytes_max: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _read_any(request, bytes_max)
    if body and kind != "application/json":
        raise HttpFailure(415, "Expected request with `Content-Type: application/json`")
    return body or b"{}"


def json_response(whole: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    answer = Response(msgspec.json.encode(whole), status)
    answer.raw_headers.insert(0, JSON_TYPE)
    return answer
