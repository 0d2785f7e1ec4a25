"""CommandService: any command of the protocol, alone or in a session."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from flashq.api.grpc import commands_pb2 as pb
from flashq.api.grpc.desk import Asker, Desk
from flashq.api.grpc.failures import GrpcFailure, draining, invalid
from flashq.api.grpc.messages import BAD, parsed
from flashq.api.grpc.session import Session
from flashq.api.statuses import GATE
from flashq.api.ways import Ways
from flashq.protocol.codec import explained
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue
from flashq.transport.forwarding import WAITS

UNANSWERED_MAX: Final = 1_000
"""Commands of a session that are under way; past them it is not read."""
_PULLS: Final = frozenset({"PULL", "PULLB"})
_NEEDS_CONNECTION: Final = frozenset({"SUBSCRIBE", "UNSUBSCRIBE"})


class _Head(msgspec.Struct):
    cmd: str = ""
    queue: str = ""
    timeout: int | None = None
    release_on_disconnect: bool | None = None


class _Refusal(msgspec.Struct):
    ok: bool = True
    error: str = ""
    code: str = ""


_HEAD: Final[dict[Codec, Callable[[bytes], _Head]]] = {
    Codec.TEXT: msgspec.json.Decoder(_Head).decode, Codec.BINARY: msgspec.msgpack.Decoder(_Head).decode,
}  # fmt: skip
_REFUSAL: Final[dict[Codec, Callable[[bytes], _Refusal]]] = {
    Codec.TEXT: msgspec.json.Decoder(_Refusal).decode, Codec.BINARY: msgspec.msgpack.Decoder(_Refusal).decode,
}  # fmt: skip


class CommandService:
    """Both calls. They raise GrpcFailure."""

    def __init__(self, desk: Desk, ways: Ways, next_gid: Callable[[], int]) -> None:
        self._desk = desk
        self._ways = ways
        self._next_gid = next_gid

    async def command(self, request: Any, asker: Asker) -> tuple[Callable[[], None], Any]:
        """Command: what to do if the reply finds nobody, and the reply.

        A refusal is a reply too, except one by a gate (no right to it, not now), which is a status.
        """
        codec = _codec_of(request)
        frame = _frame_of(request.payload, codec)
        head = _head_of(frame, codec)
        slot = slot_of_queue(head.queue) if head.cmd in _PULLS else None
        if head.cmd in WAITS:
            wait_ms = asker.wait_ms() if head.timeout is None else max(0, head.timeout)
            reply = await self._desk.wait(asker, frame, slot, wait_ms, codec)
        else:
            reply = await self._desk.ask(asker, frame, codec=codec)
        seen = _REFUSAL[codec](reply)
        if not seen.ok and seen.code in GATE:
            raise GrpcFailure(seen.error, seen.code)

        def unsent() -> None:
            if head.cmd in _PULLS:
                self._desk.undelivered(reply)

        return unsent, pb.CommandReply(payload=reply.removesuffix(b"\n") if codec is Codec.TEXT else reply)

    async def session(self, requests: AsyncIterator[bytes], asker: Asker) -> None:
        """Session: until the client has sent all and got its replies, leaves, or the server stops."""
        first = await anext(requests, None)
        if first is None:
            return
        request = parsed(pb.CommandRequest, first)
        session = Session(self._next_gid(), asker.principal, asker.host, _codec_of(request))
        tasks = [
            asyncio.create_task(self._read(session, request, requests)),
            asyncio.create_task(self._desk.stopping.wait()),
        ]
        try:
            await self._answer(session, asker, tasks)
        finally:
            # Nothing is awaited before shards are told: whoever cancels this call once more could cut that off. And
            # from here on nothing is sent on, so that no request comes behind the word that its client has gone.
            session.lost = True
            for place in session.unwritten():
                assert place.body is not None
                self._ways.take_back(place.body)
            self._ways.dispatcher.gone(session)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, session: Session, request: Any, requests: AsyncIterator[bytes]) -> None:
        self._submit(session, request)
        async for raw in requests:
            while session.unanswered >= UNANSWERED_MAX:
                await session.answered()
            self._submit(session, parsed(pb.CommandRequest, raw))
            if session.failure is not None:
                return

    def _submit(self, session: Session, request: Any) -> None:
        if session.lost:
            return
        self._ways.dispatcher.submit(session, _line_of(request.payload, session.codec))

    async def _answer(self, session: Session, asker: Asker, tasks: list[Any]) -> None:
        reading, stopping = tasks
        for task in tasks:
            task.add_done_callback(lambda _: self._ended(session))

        def over() -> bool:
            return (reading.done() or stopping.done()) and not session.unanswered

        while (place := await session.next_reply(over)) is not None:
            assert place.body is not None
            body = place.body.removesuffix(b"\n") if session.codec is Codec.TEXT else place.body
            await asker.context.write(pb.CommandReply(payload=body).SerializeToString())
            session.written(place)
        if session.failure is not None:
            raise session.failure
        if reading.done():
            reading.result()
        else:
            raise draining()

    def _ended(self, session: Session) -> None:
        """Nothing more is read: pulls that wait are answered with what there is."""
        if not session.lost:
            self._ways.dispatcher.ended(session)
        session.stir()


def _codec_of(request: Any) -> Codec:
    if request.codec not in (pb.CODEC_JSON, pb.CODEC_MSGPACK):
        raise invalid(f"Invalid: `codec` is {request.codec}, allowed is CODEC_JSON or CODEC_MSGPACK")
    return Codec.TEXT if request.codec == pb.CODEC_JSON else Codec.BINARY


def _line_of(payload: bytes, codec: Codec) -> bytes:
    """A payload as a frame: a text of several lines becomes one, if it can be read at all."""
    if codec is Codec.TEXT and (b"\n" in payload or b"\r" in payload):
        try:
            return msgspec.json.format(payload, indent=-1)
        except BAD:
            return payload.replace(b"\n", b" ").replace(b"\r", b" ")  # a fault in either form, and told as one
    return payload


def _frame_of(payload: bytes, codec: Codec) -> bytes:
    if codec is Codec.TEXT and not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise invalid(f"Invalid: {explained(error)}") from None
    return _line_of(payload, codec)


def _head_of(frame: bytes, codec: Codec) -> _Head:
    """What is to be known of a command here. Raises GrpcFailure for one that needs a connection of its own."""
    try:
        head = _HEAD[codec](frame)
    except BAD:
        return _Head()  # whoever carries it out says what is wrong with it
    if head.cmd in _NEEDS_CONNECTION or head.release_on_disconnect:
        what, where = (head.cmd, "TCP") if head.cmd in _NEEDS_CONNECTION else ("`release_on_disconnect`", "a session")
        raise invalid(f"Invalid: {what} needs a connection of its own: {where}")
    return head
