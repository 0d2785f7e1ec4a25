"""What a process of the cluster is given at its birth, and how it and the supervisor talk.

Each child has one socket to the supervisor (SOCK_SEQPACKET: a packet is a message). It says when it serves,
or why it never will; it hears when to stop and which of its peers came or went. The socket's end means that
the supervisor is gone, and is heard as the order to stop.

Exit codes: 0 after an orderly stop, 3 (EXIT_REFUSED) when a restart would not help: it stays down until
somebody looks. Anything else, and any signal, and the supervisor starts it again.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from flashq.config import Settings
from flashq.transport.slot_orders import SlotOrder, SlotReport, SlotShipped, SlotStuck

EXIT_STOPPED: Final = 0
EXIT_REFUSED: Final = 3
TEXT_CHARS_MAX: Final = 2_000
"""Of a reason or a note."""
_PACKET_BYTES: Final = 16 * 1024


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Child: I serve."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Child: I cannot serve, now or after a restart; followed by exit code 3."""

    reason: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Child: this is why I end; a restart may help. Followed by an exit code that is neither 0 nor 3."""

    reason: str


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Child: one line that belongs beside its name in the start-up output or the log."""

    text: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Supervisor: take nothing new, finish what is begun, end with code 0."""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Supervisor: read again what may change while we run: the book of tokens, certificates."""


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """Supervisor: say that your loop turns. Who does not for too long is killed."""


class PeerGone(msgspec.Struct, frozen=True, tag="peer-gone"):
    """Supervisor: a peer died or stopped. What it was asked and has not answered will not be answered."""

    name: str
    incarnation: int


class PeerReady(msgspec.Struct, frozen=True, tag="peer-ready"):
    """Supervisor: a peer serves, under this incarnation. A new child hears it of all that already do."""

    name: str
    incarnation: int


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Child: something that all have to read again was changed; the supervisor tells them."""


class Restart(msgspec.Struct, frozen=True, tag="restart"):
    """Child: somebody who may wants the whole cluster to end in order and start anew."""


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Child: the answer to a `Probe`."""


Report = Ready | Refused | Failed | Note | Changed | Restart | Alive | SlotReport
Order = Stop | PeerGone | PeerReady | SlotOrder
"""What a role carries out; `Reload` is carried out by `Control.on_reload`, and a `Probe` is answered by `Control`."""
Sent = Order | Reload | Probe
encode: Final = msgspec.msgpack.Encoder().encode
decode_report: Final = msgspec.msgpack.Decoder(Report).decode
decode_order: Final = msgspec.msgpack.Decoder(Sent).decode


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end, and the child's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Control:
    """A child's end of its socket to the supervisor."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_order: Callable[[Order], None] = _unheard
        self.on_reload: list[Callable[[], None]] = []
        """Called when something is to be read again."""

    def ready(self) -> None:
        """I serve: connections and requests may come."""
        self._say(Ready())

    def refused(self, reason: str) -> None:
        """I cannot serve, and a restart will not help. The caller then ends with EXIT_REFUSED."""
        self._say(Refused(reason[:TEXT_CHARS_MAX]))

    def failed(self, reason: str) -> None:
        """Why this process ends without having been asked to. The caller then ends."""
        self._say(Failed(reason[:TEXT_CHARS_MAX]))

    def note(self, text: str) -> None:
        """One line for the start-up output, or the log."""
        self._say(Note(text[:TEXT_CHARS_MAX]))

    def changed(self) -> None:
        """All, we too, are to read again what may change while they run."""
        self._say(Changed())

    def restart(self) -> None:
        """The whole cluster is to end in order and start anew."""
        self._say(Restart())

    def slot_shipped(self, move: int) -> None:
        """The other shard has all of it on disk."""
        self._say(SlotShipped(move))

    def slot_stuck(self, move: int, reason: str) -> None:
        """It cannot be sent now."""
        self._say(SlotStuck(move, reason[:TEXT_CHARS_MAX]))

    def _say(self, report: Report) -> None:
        # Blocking, which it never does: the supervisor reads at once, and there is room for hundreds.
        self._sock.send(encode(report))

    def attach(self, loop: asyncio.AbstractEventLoop, on_order: Callable[[Order], None]) -> None:
        """Hear orders from now on, in `loop`'s thread, those that came before included."""
        self._loop, self._on_order = loop, on_order
        loop.add_reader(self._sock.fileno(), self._hear)

    def _hear(self) -> None:
        for order in self.orders():
            self._on_order(order)

    def orders(self) -> list[Order]:
        """What has come by now, without waiting."""
        found: list[Order] = []
        while True:
            try:
                packet = self._sock.recv(_PACKET_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except ConnectionError:
                packet = b""
            if not packet:
                self.close()
                return [*found, Stop()]
            order = decode_order(packet)
            if isinstance(order, Probe):
                self._say(Alive())
            elif isinstance(order, Reload):
                for call in self.on_reload:
                    call()
            else:
                found.append(order)

    def fileno(self) -> int:
        """For a `select`."""
        return self._sock.fileno()

    def close(self) -> None:
        """Hear and say nothing more. A second call does nothing."""
        if self._loop is not None and self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._loop = None
        self._sock.close()


def _unheard(order: Order) -> None:
    raise AssertionError(f"{order} came before anybody listened")


@dataclass(frozen=True, slots=True)
class ChildContext:
    """All that a process is told at its birth."""

    settings: Settings
    name: str
    """"router-0", "shard-03", "checkpointer": its name in the shared state, in logs and in paths."""
    index: int
    """Which of its kind it is, from 0."""
    incarnation: int
    """Larger than that of any process of this data before, whatever was killed: synced before we live.

    Serves as epoch of a journal, of leases and of messages, and as upper half of connections' ids.
    """
    run: Path
    """The folder of the cluster's sockets and of its shared state."""
    control: Control
    listeners: tuple[socket.socket, ...] = ()
    """Open doors, for routers: listening, shared with the other routers."""

    database_run: str = ""
    """The life of the cluster that has the database; empty without one."""

    def gid(self, number: int) -> int:
        """The id of the `number`-th connection this process accepts: unique over processes and restarts."""
        return self.incarnation << 32 | number
