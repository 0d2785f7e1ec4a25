"""One client's connection: bytes in, whole requests to the dispatcher, replies out in their order.

- Without `reqId` replies keep the order of requests; a request behind a blocked PULL takes effect at once, its reply
  waits its turn. With `reqId` a held reply may be overtaken.
- All replies of a tick leave as one write, straight to the socket while nothing is backed up there.
- More than so many bytes or requests in flight, or a client that does not read: reading stops, nothing is dropped.
- At the end of the client's input what it sent is carried out, a last line without its LF too, and answered.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from flashq.api.stream.ticks import Ticks
from flashq.protocol.dispatch import Codec, Dispatcher
from flashq.protocol.happenings import lagged
from flashq.protocol.replies import failure_text, outcome_unknown
from flashq.transport.handover import Handed, HandoverSender, hand_on

TEXT_STARTS: Final = b"{\n\r \t"
LINGER_S: Final = 1.0
BACKLOG_BYTES: Final = 1 << 20
"""Output that the client has not taken: above it reading stops and no jobs are handed to it."""


LARGE_REPLY: Final = 64 * 1024
LARGE_BYTES: Final = 8 << 20
"""So much of large replies in one tick, and a connection's further requests wait until they are written."""
WANDERS_AFTER: Final = 64
"""Requests in a row for one other shard, after which the connection is handed on to it."""


class Bounds:
    """What one connection may have in flight."""

    __slots__ = ("frame_bytes_max", "in_flight_bytes_max", "in_flight_requests_max", "preauth_frame_bytes_max")

    def __init__(self, frame: int, in_flight_bytes: int, in_flight_requests: int, preauth_frame: int) -> None:
        self.frame_bytes_max = frame
        self.in_flight_bytes_max = in_flight_bytes
        self.in_flight_requests_max = in_flight_requests
        self.preauth_frame_bytes_max = preauth_frame


class HeldReply:
    """The place of a reply that comes later."""

    __slots__ = ("body", "connection", "ordered", "size")

    def __init__(self, connection: "Connection", size: int, ordered: bool) -> None:
        self.connection: Connection | None = connection
        self.body: bytes | None = None
        self.size = size
        self.ordered = ordered

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""
        return self.connection is not None and self.connection.takes_jobs()

    def reply(self, body: bytes) -> bool:
        """Deliver. False if the client has gone."""
        connection = self.connection
        if connection is None or connection.lost:
            return False
        self.connection = None
        self.body = body
        connection.settle(self)
        return True


class AsideReplies:
    """Replies of one tick that is not on disk yet."""

    __slots__ = ("_connection", "_out")

    def __init__(self, connection: "Connection", out: list[bytes]) -> None:
        self._connection = connection
        self._out = out

    def release(self) -> None:
        """Write them."""
        self._connection.write_aside(self._out)

    def give_up(self, reason: str) -> list[bytes]:
        """Say of each request that it may have been carried out or not; the replies that are not sent."""
        kept, unsent = [], []
        for body in self._out if self._connection.codec is _TEXT else self._out[1::2]:
            instead = outcome_unknown(self._connection.codec, body, reason)
            kept.append(instead or body)
            if instead is not None:
                unsent.append(body)
        if self._connection.codec is not _TEXT:
            kept = [piece for body in kept for piece in (len(body).to_bytes(4, "big"), body)]
        self._out = []
        self._connection.write_aside(kept, more=True)
        return unsent


class Connection(asyncio.Protocol):
    """A client over TCP or a Unix socket."""

    local = False
    takes_events = True
    __slots__ = (
        "_bounds", "_ended", "_fd", "_held", "_in_flight", "_in_flight_bytes", "_on_lost", "_out", "_paused_reading",
        "_paused_writing", "_parts", "_parts_bytes", "_listed", "_size", "_ticks", "_transport", "_closing",
        "_event_bytes", "_large", "_stalled", "_streak", "_streak_shard", "on_wander", "_leaving", "_missed",
        "_cut", "_sealed", "_aside", "_backed_up", "holds_input",
        "codec", "dispatcher", "first", "gid", "lost", "principal", "submit", "wrong_tokens",
    )  # fmt: skip

    def __init__(
        self, gid: int, dispatcher: Dispatcher, ticks: Ticks, bounds: Bounds, *, first: bytes = b"",
        principal: str = "", on_lost: Callable[["Connection"], None] | None = None, sealed: bool = False,
    ) -> None:  # fmt: skip
        """`sealed`: it speaks TLS, so that nothing is written past its transport, and half of it cannot be closed."""
        self._sealed = sealed
        self.gid = gid
        self.dispatcher = dispatcher
        self.submit = dispatcher.submit
        self.codec = Codec.TEXT
        self.principal = principal
        self.lost = False
        self.wrong_tokens = 0
        self.first: bytes | None = first
        """What was read before this connection came here; None once it was looked at."""
        self._ticks = ticks
        self._bounds = bounds
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._fd = -1
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._out: list[bytes] = []
        self._listed = False
        self._held: deque[HeldReply] = deque()
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._size = 0
        self._paused_reading = False
        self._paused_writing = False
        self._ended = False
        self._closing = False
        self._leaving = False
        self._cut = False
        self._backed_up = False
        """The transport was given something to write, and may still have some of it."""
        self._event_bytes = 0
        """Of events in this tick's output."""
        self._missed = 0
        """Events that found no room."""
        self._large = 0
        """Bytes of large replies in this tick's output."""
        self._stalled = False
        """Whole requests in `_parts` wait until the replies to those before have been written."""
        self._streak = 0
        self._aside = 0
        """Ticks whose replies wait elsewhere until they are on disk."""
        self.holds_input = False
        self._streak_shard = -1
        self.on_wander: Callable[[Connection, int], bool] | None = None
        """Hands the connection on to a shard that it keeps talking to; False if that could not be done."""

    # -- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BACKLOG_BYTES, low=BACKLOG_BYTES // 4)
        self._fd = self._transport.get_extra_info("socket").fileno()
        if self.holds_input:
            self._pause_reading()
        if self.first:
            self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # its last word is on the way; see `_leave`
        ticks = self._ticks
        if not ticks.is_open:
            ticks.begin()
        if self.first is not None:
            data = self._choose(self.first + data)
        if self.codec is _TEXT:
            if not self._parts and data and data.find(b"\n") == len(data) - 1:
                if len(data) > self._bounds.frame_bytes_max:
                    self._too_large(len(data))
                else:
                    self._size = len(data)
                    self.submit(self, data)
            else:
                self._read_text(data)
        else:
            self._read_binary(data)
        ticks.arrived(len(data))

    def _choose(self, data: bytes) -> bytes:
        """The codec is chosen by the first byte, once."""
        if data:
            self.first = None
            self.codec = Codec.TEXT if data[0] in TEXT_STARTS else Codec.BINARY
        return data

    def _read_text(self, data: bytes) -> None:
        at = data.rfind(b"\n")
        if at < 0:
            self._keep_part(data)
            return
        whole = data[: at + 1]
        if self._parts:
            self._parts.append(whole)
            whole = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
        if at + 1 < len(data):
            self._parts.append(data[at + 1 :])
            self._parts_bytes = len(data) - at - 1
        bytes_max = self._bounds.frame_bytes_max
        lines = whole.split(b"\n")
        del lines[-1]
        if len(lines) > 1 and len(whole) <= bytes_max and self.dispatcher.submit_lines(self, whole, lines):
            return
        for n, line in enumerate(lines):
            if len(line) > bytes_max:
                self._too_large(len(line))
                return
            self._size = len(line)
            self.submit(self, line)
            if self._closing:
                return
            if self._large > LARGE_BYTES and n + 1 < len(lines):
                self._stall(b"\n".join((*lines[n + 1 :], b"")))
                return

    def _keep_part(self, data: bytes) -> None:
        if not data:
            return
        self._parts.append(data)
        self._parts_bytes += len(data)
        most = self._bounds.frame_bytes_max if self.principal else self._bounds.preauth_frame_bytes_max
        if self._parts_bytes > most:
            self._too_large(self._parts_bytes)

    def _read_binary(self, data: bytes) -> None:
        if self._parts:
            if data:
                self._parts.append(data)
                self._parts_bytes += len(data)
            if self._parts_bytes < 4 + self._expected():
                return
            data = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
        at, end = 0, len(data)
        most = self._bounds.frame_bytes_max if self.principal else self._bounds.preauth_frame_bytes_max
        while end - at >= 4:
            size = int.from_bytes(data[at : at + 4], "big")
            if size > most:
                self._too_large(size)
                return
            if end - at - 4 < size:
                break
            self._size = size
            self.submit(self, data[at + 4 : at + 4 + size])
            at += 4 + size
            if self._closing:
                return
            if self._large > LARGE_BYTES and at < end:
                self._stall(data[at:])
                return
        if at < end:
            self._parts = [data[at:] if at else data]
            self._parts_bytes = end - at

    def _stall(self, rest: bytes) -> None:
        """Replies of many MiB wait to be written: what came behind them is carried out when they are."""
        self._parts.insert(0, rest)
        self._parts_bytes += len(rest)
        self._stalled = True
        self._pause_reading()

    def _go_on(self) -> None:
        """There is room again."""
        if self._stalled and not (self.lost or self._paused_writing):
            self._stalled = False
            data = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
            self._resume_reading()
            self.data_received(data)

    def _expected(self) -> int:
        """How long the frame is that is coming in; 0 while that is not known."""
        head = self._parts[0]
        if len(head) < 4:
            head = b"".join(self._parts)
            self._parts = [head]
            if len(head) < 4:
                return 0
        return int.from_bytes(head[:4], "big")

    def eof_received(self) -> bool:
        """The client sends nothing more: finish what it asked, then close."""
        if self._closing:
            return False
        ticks = self._ticks
        if not ticks.is_open:
            ticks.begin()
        if self._parts and self.codec is _TEXT:
            line = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
            self._size = len(line)
            self.submit(self, line)  # before the end is noted: a PULL among it gets what there is
        self._ended = True
        self.dispatcher.ended(self)
        self._touch()
        ticks.wake()
        return not self._sealed

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost:  # handed on: it lives elsewhere
            if self._on_lost is not None:
                self._on_lost(self)
            return
        self.lost = True
        ticks = self._ticks
        if not ticks.is_open:
            ticks.begin()
        self.dispatcher.gone(self)
        self._held.clear()
        self._out.clear()
        ticks.wake()
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        self._paused_writing = True
        self._pause_reading()

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._resume_reading()
        ticks = self._ticks
        if not ticks.is_open:
            ticks.begin()
        if self._missed:
            self._tell_missed()
        self._go_on()
        self.dispatcher.takes_jobs_again(self)
        ticks.wake()

    # -- the dispatcher's calls

    def reply(self, body: bytes) -> None:
        """Answer the request that is being dispatched, in its turn."""
        self._streak = 0
        if self._held:
            place = HeldReply(self, 0, True)
            place.body = body
            self._held.append(place)
            return
        # As `_write`, spelled out: nearly every reply comes by here.
        if len(body) > LARGE_REPLY:
            self._large += len(body)
        if self.codec is not _TEXT:
            self._out.append(len(body).to_bytes(4, "big"))
        self._out.append(body)
        if not self._listed:
            self._listed = True
            self._ticks.dirty.append(self)

    def _write(self, body: bytes) -> None:
        if len(body) > LARGE_REPLY:
            self._large += len(body)
        if self.codec is not _TEXT:
            self._out.append(len(body).to_bytes(4, "big"))
        self._out.append(body)
        if not self._listed:
            self._listed = True
            self._ticks.dirty.append(self)

    def _touch(self) -> None:
        if not self._listed:
            self._listed = True
            self._ticks.dirty.append(self)

    def hold(self, *, ordered: bool) -> HeldReply:
        """Answer the request that is being dispatched later."""
        place = HeldReply(self, self._size, ordered)
        if ordered:
            self._held.append(place)
        self._in_flight += 1
        self._in_flight_bytes += self._size
        bounds = self._bounds
        if self._in_flight >= bounds.in_flight_requests_max or self._in_flight_bytes >= bounds.in_flight_bytes_max:
            self._pause_reading()
        return place

    def forwarded_to(self, shard: int) -> None:
        """A request went to another shard; so many in a row, and the connection moves there."""
        if shard == self._streak_shard:
            self._streak += 1
        else:
            self._streak_shard, self._streak = shard, 1

    def settle(self, place: HeldReply) -> None:
        """A held reply has come."""
        self._in_flight -= 1
        self._in_flight_bytes -= place.size
        ticks = self._ticks
        if not ticks.is_open:
            ticks.wake()
        if not place.ordered:
            assert place.body is not None
            self._write(place.body)
        else:
            held = self._held
            while held and (body := held[0].body) is not None:  # nearly always this one alone
                held.popleft()
                self._write(body)
        if self._paused_reading:
            self._resume_reading()

    def push_event(self, body: bytes) -> None:
        """An event, unasked. A listener that does not read is told later how many it missed."""
        if self.lost or self._ended:
            return
        if self._paused_writing or self._event_bytes > BACKLOG_BYTES:
            self._missed += 1
            return
        if self._missed:
            self._tell_missed()
        self._event_bytes += len(body)
        self._write(body)

    def _tell_missed(self) -> None:
        self._write(lagged(self._missed, self.codec))
        self._missed = 0

    @property
    def backed_up(self) -> bool:
        """The client does not read what it is sent, so that nothing more should be brought for it."""
        return self._paused_writing and not self.lost

    @property
    def address(self) -> str:
        """Where the client is: its host, or "unix"."""
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else "unix"

    def takes_jobs(self) -> bool:
        """False while it has gone, or does not read what it is sent."""
        return not (self.lost or self._paused_writing or self._ended)

    def fatal(self, text: str, code: str) -> None:
        """Say why, then close: the connection cannot go on."""
        self.reply(failure_text(self.codec, text, code))
        self._closing = True
        self._ended = True
        self._parts, self._parts_bytes = [], 0
        self._touch()

    def cut(self, text: str) -> None:
        """Its token is good no more: say so, whatever else it waits for, and close."""
        if self.lost or self._closing:
            return
        self._write(failure_text(self.codec, text, "unauthenticated"))
        self._closing = self._ended = self._cut = True
        self._parts, self._parts_bytes = [], 0
        self._ticks.wake()

    def _too_large(self, size: int) -> None:
        most = self._bounds.frame_bytes_max if self.principal else self._bounds.preauth_frame_bytes_max
        self.fatal(f"Message too large ({size} bytes, max {most} bytes)", "too_large")

    @property
    def idle(self) -> bool:
        """Nothing of it is in flight: it may be handed to another process."""
        busy = self._held or self._in_flight or self._out or self._aside or self._parts
        return not (busy or self._paused_writing or self._ended)

    # -- output

    def flush(self) -> None:
        """The tick is committed: write its replies."""
        self._event_bytes = 0
        if self._missed and not self._paused_writing and not self.lost:
            self._tell_missed()
        self._listed = False
        out = self._out
        if self.lost:
            out.clear()
            return
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._send(data)
        if self._large:
            self._large = 0
            if self._stalled:
                self._ticks.later(0, self._go_on)
        if self._streak >= WANDERS_AFTER and self.idle and self.on_wander is not None:
            self._streak = 0
            if not self._transport.get_write_buffer_size():
                self.on_wander(self, self._streak_shard)
            return
        if self._ended and (self._cut or not (self._held or self._in_flight or self._aside)):
            if self._closing:
                self._leave()
            else:
                self._transport.close()

    def set_aside(self) -> AsideReplies:
        """The tick is not on disk yet: its replies, taken out."""
        self._event_bytes = 0
        self._listed = False
        self._aside += 1
        out, self._out = self._out, []
        return AsideReplies(self, out)

    def write_aside(self, out: list[bytes], *, more: bool = False) -> None:
        """Write replies that were set aside; `more`: their tick is not over."""
        if not more:
            self._aside -= 1
        if out and not self.lost:
            self._send(b"".join(out))
        if not (self._aside or self._out or self._listed):
            self.flush()

    def hold_input(self, on: bool) -> None:
        """Stop reading until this is taken back."""
        self.holds_input = on
        if self._fd >= 0 and not self.lost:
            if on:
                self._pause_reading()
            else:
                self._resume_reading()

    def _leave(self) -> None:
        """Close after a fault, in a way that lets the client read why.

        A socket that is closed with bytes unread resets the connection, and the reset overtakes our words: so what the
        client goes on sending is read and thrown away until it has closed too, for a second at most.
        """
        transport = self._transport
        if transport.is_closing() or self._leaving:
            return
        self._leaving = True
        if self._sealed:
            transport.close()  # sends what is there, and says goodbye
            return
        transport.write_eof()
        if self._paused_reading:
            self._paused_reading = False
            transport.resume_reading()
        self._ticks.later(LINGER_S, self.abort)

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        if not self._sealed and not (self._backed_up and transport.get_write_buffer_size()):
            self._backed_up = False
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                # It is gone; the transport learns so by itself and tells us.
                transport.abort()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._backed_up = True
        transport.write(data)

    def _pause_reading(self) -> None:
        if not self._paused_reading and not self._ended and not self._transport.is_closing():
            self._paused_reading = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        bounds = self._bounds
        full = self._in_flight >= bounds.in_flight_requests_max or self._in_flight_bytes >= bounds.in_flight_bytes_max
        stays = full or self._paused_writing or self._stalled or self.holds_input
        if self._paused_reading and not stays and not self._transport.is_closing():
            self._paused_reading = False
            self._transport.resume_reading()

    def finish(self) -> None:
        """The server stops: what was answered is written, what waits is not answered any more."""
        if not self.lost:
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """End at once."""
        if not self.lost:
            self._transport.abort()

    def hand_on(self, sender: HandoverSender, shard: int, handed: Handed) -> bool:
        """Pass the connection to a shard's process; ours ends without the client noticing. Only when `idle`."""
        self.lost = hand_on(self._transport, sender, shard, handed)
        return self.lost


_TEXT: Final = Codec.TEXT
