"""Deliveries in their lines: one line a webhook, in it a chain a job, of which the first may go.

What moves them, and why, is in hook_deliveries.py; these are the steps, live and in replay alike.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from flashq.engine import events
from flashq.engine.agenda import Agenda
from flashq.protocol.happenings import Happening

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

DUE_AT_ONCE: Final = 256


class Delivery:
    """One event for one webhook."""

    __slots__ = ("attempts", "bytes", "error", "failed", "happening", "hook", "moment", "next_at", "no", "since")

    def __init__(self, no: int, hook: int, happening: Happening, size: int) -> None:
        self.no = no
        self.hook = hook
        self.happening = happening
        self.bytes = size
        self.attempts = 0
        self.next_at = 0
        """When it is tried again; 0: it does not wait for a moment."""
        self.since = happening.at_ms
        """From when on it is counted until it is given up."""
        self.error = ""
        """What the last attempt ended with."""
        self.failed = False
        self.moment: Any = None
        """In the agenda, while it waits for `next_at`."""

    @property
    def key(self) -> int | str:
        """What it has to keep the order of."""
        return self.happening.job_id or self.happening.queue


class Line:
    """One webhook, and what is to be delivered to it."""

    __slots__ = (
        "bytes", "chains", "delivered", "dropped", "failed", "failed_bytes", "hook", "kinds", "out", "ready", "waiting",
    )  # fmt: skip

    def __init__(self, hook: events.HookSet, kinds: frozenset[str] | None) -> None:
        self.hook = hook
        self.kinds = kinds
        """None: all."""
        self.waiting: dict[int, Delivery] = {}
        """All that are not done, by number."""
        self.bytes = 0
        self.chains: dict[int | str, deque[Delivery]] = {}
        """The same by job; the first of each may go."""
        self.ready: dict[int, Delivery] = {}
        self.out: dict[int, Delivery] = {}
        """In the hands of the sender."""
        self.failed: dict[int, Delivery] = {}
        """Given up, the oldest first."""
        self.failed_bytes = 0
        self.delivered = 0
        self.dropped = 0

    def find(self, no: int) -> Delivery | None:
        """The delivery of this number, waiting or failed."""
        return self.waiting.get(no) or self.failed.get(no)


class Hooks:
    """All webhooks, and what this shard has to deliver to them."""

    __slots__ = ("agenda", "counter", "everywhere", "fresh", "lines", "of_queue", "version")

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        """By id, in the order they were made."""
        self.version = 0
        """Of the last change that is known here."""
        self.of_queue: dict[str, list[Line]] = {}
        self.everywhere: list[Line] = []
        """Those that are about all queues."""
        self.counter = 0
        """Deliveries numbered in this life of the process."""
        self.fresh = False
        """Something can be delivered that could not before."""
        self.agenda: Agenda[Delivery] = Agenda(ring)
        """When failed attempts are repeated."""


def add(engine: "Engine", hook: int, delivery: Delivery) -> None:
    """It waits, behind those of its job."""
    line = engine.hooks.lines[hook]
    line.waiting[delivery.no] = delivery
    line.bytes += delivery.bytes
    chain = line.chains.setdefault(delivery.key, deque())
    chain.append(delivery)
    if len(chain) == 1:
        may_go(engine, line, delivery)


def may_go(engine: "Engine", line: Line, delivery: Delivery) -> None:
    """It is given to the sender when that asks next."""
    line.ready[delivery.no] = delivery
    engine.hooks.fresh = True


def put_aside(engine: "Engine", delivery: Delivery, next_at: int, *, failed: bool) -> None:
    """It is tried again at `next_at`, or at once if that is 0; or it has failed for good."""
    line = engine.hooks.lines[delivery.hook]
    if failed:
        leave(engine, line, delivery)
        delivery.failed = True
        line.failed[delivery.no] = delivery
        line.failed_bytes += delivery.bytes
    elif next_at:
        _rest(engine, delivery)
        line.ready.pop(delivery.no, None)
        delivery.next_at = next_at
        delivery.moment = engine.hooks.agenda.add(engine, next_at, delivery)


def leave(engine: "Engine", line: Line, delivery: Delivery) -> None:
    """It does not wait any more: the next of its job may go, if it was the first."""
    del line.waiting[delivery.no]
    line.ready.pop(delivery.no, None)
    line.bytes -= delivery.bytes
    _rest(engine, delivery)
    chain = line.chains[delivery.key]
    was_first = chain[0] is delivery
    chain.remove(delivery)
    if not chain:
        del line.chains[delivery.key]
    elif was_first:
        may_go(engine, line, chain[0])


def _rest(engine: "Engine", delivery: Delivery) -> None:
    """It waits for no moment."""
    if delivery.moment is not None:
        engine.hooks.agenda.cancel(delivery.moment)
        delivery.moment = None
    delivery.next_at = 0


def ring(engine: "Engine") -> None:
    """The first moment has come."""
    for delivery in engine.hooks.agenda.take(engine.now_ms, DUE_AT_ONCE):
        delivery.moment = None
        delivery.next_at = 0
        line = engine.hooks.lines.get(delivery.hook)
        if line is not None:
            may_go(engine, line, delivery)


def drop_failed(line: Line, no: int) -> None:
    """A failed delivery is no longer kept."""
    line.failed_bytes -= line.failed.pop(no).bytes
