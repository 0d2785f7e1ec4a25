"""Requests, replies and notices between our own processes: one `Exchange` a process, over ZeroMQ on Unix sockets.

A process binds one ROUTER, on which it is asked, and has a DEALER for each peer that it asks. The sockets'
descriptors are watched by the process's own loop (`zmq.asyncio` costs more than the rest of a hop).

Rules kept here
- All that one tick has for one peer leaves as one message (`flush`, which also happens by itself).
- A request leaves for one incarnation of its peer: its epoch is in the envelope, and a successor refuses it.
- Every request ends in exactly one call, of `on_reply` or `on_fail`, never from within `request`: its peer's
  death, a broken connection and its deadline are told at once (the last within 33 ms).
- Memory is bounded in bytes: `writable` is False while a peer has `credit_bytes` of requests that it has not
  taken, and `request` refuses what goes far beyond. Replies never wait for that credit, or two processes
  that ask each other could wait for ever.
- A reply that nobody waits for any more goes back to who sent it (`on_undelivered`): there may be jobs in it.

ZeroMQ's descriptor is edge-triggered: it tells of changes only. So a socket is drained until its EVENTS say
it is empty, and EVENTS are looked at again after everything that was sent, as sending may swallow an edge.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from flashq.transport.answering import Answering, OnNotice, OnRequest, OnUndelivered
from flashq.transport.asking import Asking
from flashq.transport.envelope import Notice
from flashq.transport.sockets import ZmqContext

CREDIT_BYTES: Final = 16 << 20
BODY_BYTES_MAX: Final = 64 << 20
"""The largest frame or reply."""
SOCKETS_MAX: Final = 4096
"""Two a peer, and there may be 1024 shards."""
SETTLE_S: Final = 0.05
"""From the last message to the end of the sockets."""
LINGER_MS: Final = 500
"""How long `stop` lets ZeroMQ go on writing what has been handed to it."""


class Exchange:
    """One process's way to the others. All calls and callbacks belong to the loop's thread."""

    def __init__(
        self,
        name: str,
        run: str | Path,
        *,
        epoch: int,
        loop: asyncio.AbstractEventLoop,
        on_request: OnRequest,
        on_peer_gone: Callable[[str, int], None],
        on_notice: OnNotice | None = None,
        on_undelivered: OnUndelivered | None = None,
        on_writable: Callable[[str], None] | None = None,
        credit_bytes: int = CREDIT_BYTES,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        """Bind `<run>/<name>.zmq`, taking the name over from a predecessor.

        `epoch`: larger than that of any earlier process of this name. `on_peer_gone(name, epoch)`: this
        incarnation will never be heard of again; told once. `on_notice(peer, kind, payload)`: see `notify`.
        `on_undelivered(peer, body)`: a reply of ours found nobody. `on_writable(peer)`: it has credit again.

        Raises ConfigError if the path is too long for a socket. To be made after any fork.
        """
        self.name = name
        self.epoch = epoch
        self._loop = loop
        self._on_peer_gone = on_peer_gone
        self._scheduled = False
        self._epochs: dict[str, int] = {}
        self._reported_gone: dict[str, int] = {}
        self._context: ZmqContext = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        try:
            self._answering = Answering(
                name,
                run,
                epoch=epoch,
                loop=loop,
                context=self._context,
                body_bytes_max=body_bytes_max,
                schedule=self._schedule,
                report=self._report,
                on_greeted=self._greeted,
                on_request=on_request,
                on_notice=on_notice or self._stray_notice,
                on_undelivered=on_undelivered or self._stray_reply,
            )
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._asking = Asking(
            name,
            run,
            epoch=epoch,
            loop=loop,
            context=self._context,
            credit_bytes=credit_bytes,
            body_bytes_max=body_bytes_max,
            schedule=self._schedule,
            report=self._report,
            on_greeted=self._greeted,
            on_writable=on_writable or _nobody_waits,
        )
        # Bound once, so that the hot path has no call in between.
        self.request = self._asking.request
        self.cancel = self._asking.cancel
        self.notify = self._asking.notify
        self.writable = self._asking.writable
        self.in_flight_bytes = self._asking.in_flight_bytes

    def flush(self) -> None:
        """Let everything of this tick leave. Called at its end; without a call it happens in the loop's next turn."""
        self._scheduled = False
        self._answering.flush()
        self._asking.flush()

    def peer_gone(self, name: str, epoch: int | None = None) -> None:
        """The supervisor says that a process died. Fails all that is pending to it, forgets what it asked.

        With its `epoch` the word may come late, when the successor is known already. Without, it is taken
        to mean the incarnation that was heard of last.
        """
        self._asking.peer_gone(name, epoch)
        self._answering.peer_gone(name, epoch)
        which = self._epochs.get(name) if epoch is None else epoch
        if which is not None and self._reported_gone.get(name, -1) < which:
            self._reported_gone[name] = which
            try:
                self._on_peer_gone(name, which)
            except Exception as error:
                self._report(f"Taking note of the end of {name} failed", error)

    async def stop(self) -> None:
        """Send what can be sent, fail what is pending, close. A second call does nothing."""
        if self._context.closed:
            return
        self.flush()
        deadline = self._loop.time() + LINGER_MS / 1000
        while (self._answering.unsent() or self._asking.unsent()) and self._loop.time() < deadline:
            await asyncio.sleep(0.005)
            self.flush()
        # ZeroMQ lingers for what it still has in its pipes, but drops what it is in the middle of writing: a large
        # reply that the other side reads only now. It gives no sign of that, so it is given time.
        await asyncio.sleep(SETTLE_S)
        self._asking.close(linger_ms=LINGER_MS)
        self._answering.close(linger_ms=LINGER_MS)
        # Waits for the linger, so not in the loop's thread.
        await self._loop.run_in_executor(None, self._context.term)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        if self._scheduled:
            self.flush()

    def _greeted(self, name: str, epoch: int) -> None:
        """A process said who it is. An earlier one of that name is no more."""
        before = self._epochs.get(name)
        self._epochs[name] = epoch if before is None else max(before, epoch)
        if before is not None and before < epoch:
            self.peer_gone(name, before)

    def _report(self, what: str, error: Exception) -> None:
        self._loop.call_exception_handler({"message": f"{self.name}: {what}", "exception": error})

    def _stray_notice(self, peer: str, kind: int, payload: bytes) -> None:
        label = f"{Notice(kind).name}" if kind in set(Notice) else str(kind)
        raise LookupError(f"Nobody takes notices here: {label} of {peer}, {len(payload)} bytes")

    def _stray_reply(self, peer: str, body: bytes) -> None:
        raise LookupError(f"Nobody takes replies back here: {len(body)} bytes for {peer}")


def _nobody_waits(peer: str) -> None:
    """No `on_writable` was given: whoever sends looks at `writable` before each request."""
