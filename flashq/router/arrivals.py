"""Connections between their accept and their place: read until it is known where they belong.

Rules kept here
- Bytes are read, never peeked at: `queue` may stand behind 10 MiB of `data`, and half a request would make a
  level-triggered loop spin. At most 64 KiB are read here; whoever gets the connection gets them too.
- Whoever sends nothing is not closed for it, unless tokens are configured: then a stranger has
  `preauth_timeout_ms` for his first request.
- All unfinished heads together are bounded: past that, whoever sends more of one is refused.
- At the limit of descriptors a new connection is refused with words; the old ones live.

Many connections are accepted at one wake-up, and each is read at once: its first request is mostly there already, so
that it is never registered with the loop: 10.6 k a second came and went, against 7.5 k where all were registered.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from flashq.access.access import Access
from flashq.config import Settings
from flashq.protocol.head import Head, HeadSeeker, codec_of, find_head
from flashq.router.refusals import refuse

log = structlog.get_logger()
HEAD_BYTES_MAX: Final = 64 * 1024
"""Read of one connection before it gets its place."""
ALL_HEADS_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of all unfinished heads together."""
BURST: Final = 64
"""Accepted at one wake-up; those that are read wait no longer than some milliseconds for it."""
SPARE_DESCRIPTORS: Final = 64
"""Kept free for files, peers and the loop."""
_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

OnHead = Callable[[socket.socket, bytes, Head | None], None]
"""Where a connection goes: with all bytes read of it, and its head, None where 64 KiB did not have one."""


class Arrivals:
    """The doors, and who stands in them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        settings: Settings,
        on_head: OnHead,
        access: Access,
        *,
        descriptors_max: int,
        on_sealed: Callable[[socket.socket], None] | None = None,
    ) -> None:
        """`on_sealed` gets TCP connections unread, where they speak TLS; Unix sockets never do."""
        self._loop = loop
        self._listeners = list(listeners)
        self._on_head = on_head
        self._on_sealed = on_sealed
        self._access = access
        self._frames = (settings.frame_bytes_max, settings.preauth_frame_bytes_max)
        self._patience_s = settings.preauth_timeout_ms / 1_000
        self._fd_max = descriptors_max - SPARE_DESCRIPTORS
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._waiting: dict[int, _Arrival] = {}
        """By descriptor."""
        self._impatient: deque[tuple[float, _Arrival]] = deque()
        self._sweeps = False
        self._head_bytes = 0
        self.refused = 0

    @property
    def _frame_bytes_max(self) -> int:
        """Of a first request."""
        return self._frames[self._access.required]

    def open(self) -> None:
        """Let them in."""
        for listener in self._listeners:
            listener.setblocking(False)
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def close(self) -> None:
        """Let nobody in any more, and send away who has asked for nothing yet. A second call does nothing."""
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        for arrival in list(self._waiting.values()):
            self._forget(arrival)
            arrival.sock.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    # -- accept

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BURST):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # It went away while it stood in line.
            except OSError as error:
                if error.errno not in _RESOURCES:
                    raise
                self._turn_away(listener, error)
                return
            if sock.fileno() >= self._fd_max:
                if self._on_sealed is not None and sock.family != socket.AF_UNIX:
                    sock.close()  # there is no word that it could read
                else:
                    self._refuse(sock, "Too many connections")
                continue
            sock.setblocking(False)
            if self._on_sealed is not None and sock.family != socket.AF_UNIX:
                self._on_sealed(sock)
            else:
                self._first_read(sock)

    def _turn_away(self, listener: socket.socket, error: OSError) -> None:
        """Out of descriptors: give up the spare one for as long as it takes to say so to the first in line."""
        log.warning("no room for a connection", error=os.strerror(error.errno or 0))
        os.close(self._spare)
        with contextlib.suppress(OSError):
            self._refuse(listener.accept()[0], "Too many connections")
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _refuse(self, sock: socket.socket, text: str, data: bytes | bytearray = b"") -> None:
        self.refused += 1
        refuse(sock, text, codec_of(data))

    # -- read

    def _first_read(self, sock: socket.socket) -> None:
        """The common case: the whole first request is there, and nothing need be kept for it."""
        try:
            data = sock.recv(HEAD_BYTES_MAX)
        except BlockingIOError:
            self._wait(_Arrival(sock))
            return
        except OSError:
            sock.close()
            return
        head = find_head(data, self._frame_bytes_max) if data else None
        if head is not None:
            self._on_head(sock, data, head)
        elif not data:
            sock.close()
        else:
            arrival = _Arrival(sock)
            self._wait(arrival)
            self._take(arrival, data)

    def _wait(self, arrival: "_Arrival") -> None:
        self._waiting[arrival.sock.fileno()] = arrival
        self._loop.add_reader(arrival.sock.fileno(), self._read, arrival)
        if self._access.required:
            self._impatient.append((self._loop.time() + self._patience_s, arrival))
            self._plan_sweep()

    def _read(self, arrival: "_Arrival") -> None:
        have = len(arrival.seeker.buffer) if arrival.seeker else 0
        try:
            data = arrival.sock.recv(HEAD_BYTES_MAX - have)
        except BlockingIOError:
            return
        except OSError:  # reset by its peer: there is nobody left to tell
            self._forget(arrival)
            arrival.sock.close()
            return
        if data:
            self._take(arrival, data)
        else:
            self._at_end(arrival)

    def _take(self, arrival: "_Arrival", data: bytes) -> None:
        if arrival.seeker is None:
            arrival.seeker = HeadSeeker(self._frame_bytes_max)
        self._head_bytes += len(data)
        head = arrival.seeker.feed(data)
        if head is not None or len(arrival.seeker.buffer) >= HEAD_BYTES_MAX:
            self._place(arrival, head)
        elif self._head_bytes > ALL_HEADS_BYTES_MAX:
            self._forget(arrival)
            self._refuse(arrival.sock, "Too many unfinished requests", arrival.seeker.buffer)

    def _at_end(self, arrival: "_Arrival") -> None:
        """It sends no more. What it asked before is carried out: a last line may lack its end."""
        if arrival.seeker is None:
            self._forget(arrival)
            arrival.sock.close()
        else:
            self._place(arrival, arrival.seeker.finish())

    def _place(self, arrival: "_Arrival", head: Head | None) -> None:
        assert arrival.seeker is not None
        self._forget(arrival)
        self._on_head(arrival.sock, bytes(arrival.seeker.buffer), head)

    def _forget(self, arrival: "_Arrival") -> None:
        self._loop.remove_reader(arrival.sock.fileno())
        del self._waiting[arrival.sock.fileno()]
        arrival.placed = True
        if arrival.seeker is not None:
            self._head_bytes -= len(arrival.seeker.buffer)

    # -- patience with strangers

    def _plan_sweep(self) -> None:
        if not self._sweeps and self._impatient:
            self._sweeps = True
            self._loop.call_at(self._impatient[0][0], self._sweep)

    def _sweep(self) -> None:
        """Close who has kept us waiting. All wait equally long, so the line is in order of their moments."""
        self._sweeps = False
        now = self._loop.time()
        while self._impatient and (self._impatient[0][1].placed or self._impatient[0][0] <= now):
            _, arrival = self._impatient.popleft()
            if not arrival.placed:
                self._forget(arrival)
                seen = arrival.seeker.buffer if arrival.seeker else b""
                self._refuse(arrival.sock, "No request within the time allowed before login", seen)
        self._plan_sweep()


class _Arrival:
    """A connection whose head is not known yet."""

    __slots__ = ("placed", "seeker", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.seeker: HeadSeeker | None = None
        """None until it has sent anything."""
        self.placed = False
