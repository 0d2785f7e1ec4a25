"""The state of one shard, and what every verb needs of it. Pure: no sockets, no clock, no disk, no dice.

A verb is a function in a module of its own; it takes the engine and what was asked, changes the state,
appends what it decided to `events`, and returns its answer or raises a RequestError having changed nothing. Time is
handed in at the start of a tick (`begin`). What the loop has to carry out besides is left here as data:
`events` and `promise` (to the journal), `woken` (jobs for waiting pulls), `touched` (queues whose gauges changed).
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from flashq.engine import events
from flashq.engine.crons import Crons
from flashq.engine.hook_lines import Hooks
from flashq.engine.idempotency import Answers
from flashq.engine.job_times import TimesByQueue
from flashq.engine.kv import Store
from flashq.engine.leases import COUNTER_BITS, COUNTER_MAX, DeadlineLines, Lease
from flashq.engine.lines import Lines
from flashq.engine.links import Ending
from flashq.engine.names import Names
from flashq.engine.outbox import Outbox
from flashq.engine.pages import RESERVED_PAGES, SETTLED_BEHIND, Page, Slot
from flashq.engine.queues import Queue
from flashq.engine.settings import Chosen, Defaults, Limits
from flashq.engine.telling import Audience
from flashq.engine.timers import Timers
from flashq.engine.waiters import Waiter
from flashq.errors import LimitExceeded
from flashq.protocol.happenings import Happening
from flashq.protocol.slots import SLOTS, slot_of_queue

if TYPE_CHECKING:
    from flashq.engine.drafts import Draft
    from flashq.engine.parts import Part
    from flashq.engine.waits import JobWait, Outcome


class Rare:
    """A total that few ticks change, and that is told to others only when it has."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}"

    def __get__(self, totals: "Totals", owner: type) -> int:
        value: int = getattr(totals, self._slot)
        return value

    def __set__(self, totals: "Totals", value: int) -> None:
        setattr(totals, self._slot, value)
        totals.rare_changed = True


class Totals:
    """Counts over all queues of this shard, kept as they change."""

    __slots__ = ("_dead", "_delayed", "_failed", "_retried", "active", "completed", "completed_now", "latency_count",
                 "latency_ms", "pushed", "rare_changed", "waiting")  # fmt: skip
    failed = Rare()
    retried = Rare()
    delayed = Rare()
    dead = Rare()

    def __init__(self) -> None:
        self.pushed = self.completed = self.failed = self.retried = 0
        self.waiting = self.delayed = self.active = self.dead = self.completed_now = 0
        self.latency_ms = self.latency_count = 0
        self.rare_changed = True


class Engine:
    """One shard's state."""

    def __init__(
        self, *, epoch: int, defaults: Defaults | None = None, limits: Limits | None = None, first_page: int = 0,
        random: Random | None = None,
    ) -> None:  # fmt: skip
        self.epoch = epoch
        self.defaults = defaults or Defaults()
        self.recorded_defaults: Defaults | None = None
        """What the journal says the defaults are."""
        self.limits = limits or Limits()
        self.configured = self.defaults, self.limits
        self.chosen = Chosen()
        """What was chosen at run time instead: chosen.py."""
        self.first_page = first_page
        """Where new slots start counting: 0, or from the clock where nothing is kept on disk."""
        self.random = random or Random(epoch)
        self.now_ms = 0
        self.mono_ms = 0
        self.owns: bytearray = bytearray(b"\1" * SLOTS)
        self.slots: dict[int, Slot] = {}
        self.queues: dict[str, Queue] = {}
        self.totals = Totals()
        self.times = TimesByQueue(self.limits.timed_queues_max)
        self.events: list[bytes] = []
        self.promise = False
        self.sync = False
        self.woken: list[tuple[Waiter, Any]] = []
        self.touched: list[Queue] = []
        self.forgotten: list[str] = []
        """Queues that nothing is known of any more, whose gauges are to be closed."""
        self.freed: dict[Queue, None] = {}
        """Queues that may give out more now, because a limit is not reached any more: served when the tick ends."""
        self.lease_lines: DeadlineLines[Lease] = DeadlineLines()
        self.wait_lines: DeadlineLines[Waiter] = DeadlineLines()
        self.timers = Timers()
        """Wall clock: delays, ttl, retention."""
        self.mono_timers = Timers()
        """Monotonic clock: graces."""
        self.in_grace: dict[int, list[Lease]] = {}
        """Leases whose connection may have ended with a process, by its id, until it is known or the grace is over."""
        self.tied: dict[int, dict[Lease, None]] = {}
        """Leases that end with their connection, by its id."""
        self.waits_of: dict[int, dict[Waiter, None]] = {}
        """Waiting pulls, by connection."""
        self.job_waits: dict[int, dict[JobWait, None]] = {}
        """Clients that wait for the end of a job, by connection."""
        self.ended_waits: list[tuple[JobWait, Outcome]] = []
        """Of those, the ones to be answered at the end of this tick."""
        self.answers = Answers()
        self.outbox = Outbox()
        self.names = Names()
        self.kv = Store()
        self.crons = Crons()
        self.hooks = Hooks()
        self.incoming: dict[str, events.IncomingSet] = {}
        """Queues that take jobs from requests of others."""
        self.heard = False
        """Whether anybody listens to what happens: telling.py."""
        self.audience = Audience()
        self.happenings: list[Happening] = []
        self.endings: list[Ending] = []
        """What jobs that others wait for have come to in this tick (watching.py)."""
        self.parts: dict[tuple[int, int], Part] = {}
        """What our slots have stored of pushes that are not accepted yet, by first job and slot (drafts.py)."""
        self.drafts: dict[int, Draft] = {}
        """Pushes that our slots lead and that are not accepted yet, by their first job."""
        self.arriving: dict[int, list[bytes]] = {}
        """Parts of slots that are about to come from other shards (storage/parcels.py)."""
        self.counter = 0
        self.replaying = False
        self.make_page: Callable[[Slot, int, Queue, int, Defaults], Page] = Page
        """What replay and restoring make pages with."""

    # -- ticks

    def begin(self, now_ms: int, mono_ms: int) -> None:
        """A tick starts: all that happens in it happens at these times."""
        self.now_ms = now_ms
        self.mono_ms = mono_ms

    def record(self, event: events.Event, *, promise: bool = True) -> None:
        """An event that is not frequent was decided."""
        if not self.replaying:
            self.events.append(events.cold(event))
            if promise:
                self.promise = True

    def taken(self) -> tuple[list[bytes], bool, bool]:
        """The tick's events, whether a reply depends on them, and whether they must survive a power cut."""
        out = self.events, self.promise, self.sync
        self.events, self.promise, self.sync = [], False, False
        return out

    # -- tokens, slots, queues, pages

    def next_token(self) -> int:
        """A lease token that was never given before."""
        self.counter = counter = self.counter + 1
        assert counter <= COUNTER_MAX, "eight thousand million pulls in one epoch: restart the shard"
        return self.epoch << COUNTER_BITS | counter

    def see_token(self, token: int) -> None:
        """Replay: this token was given."""
        if token >> COUNTER_BITS == self.epoch:
            self.counter = max(self.counter, token & COUNTER_MAX)

    def adopt_defaults(self, defaults: Defaults) -> None:
        """Jobs are pushed under these from now on, which the journal is told if it does not know."""
        self.defaults = defaults
        if self.recorded_defaults != defaults:
            self.recorded_defaults = defaults
            self.record(events.DefaultsSet(defaults), promise=False)
            for queue in self.queues.values():
                queue.open_pages = [None, None]

    def slot(self, no: int) -> Slot:
        slot = self.slots.get(no)
        if slot is None:
            slot = self.slots[no] = Slot(no)
            slot.next_page = slot.reserved_page = self.first_page
        return slot

    def queue(self, name: str) -> Queue:
        """The queue of this name, made if it is new."""
        queue = self.queues.get(name)
        if queue is None:
            if len(self.queues) >= self.limits.queues_max:
                raise LimitExceeded(f"Too many queues ({len(self.queues)}, max {self.limits.queues_max})")
            queue = self.queues[name] = Queue(name, self.slot(slot_of_queue(name)), self.times.of(name))
            queue.heard = self.heard and self.audience.hears(name)
        return queue

    def touch(self, queue: Queue) -> None:
        """The queue's gauges changed in this tick."""
        if not queue.touched:
            queue.touched = True
            self.touched.append(queue)

    def free(self, queue: Queue) -> None:
        """Pulls that wait at the queue are looked at when the tick ends."""
        if queue.waiters and not self.replaying:
            self.freed[queue] = None

    def bind(self, queue: Queue) -> None:
        """The queue has, or will have, jobs with a group or a key."""
        if queue.lines is None:
            queue.lines = Lines(self, queue)

    def new_page(self, queue: Queue, codec: int) -> Page:
        """The next page of ids for a queue."""
        slot = queue.slot
        no = slot.next_page
        if no >= slot.reserved_page:
            slot.reserved_page = no + RESERVED_PAGES
            self.record(events.PagesReserved(slot.no, slot.reserved_page))
            self.sync = True
        slot.next_page = no + 1
        old = queue.open_pages[codec]
        page = slot.pages[no] = Page(slot, no, queue, codec, self.defaults)
        queue.open_pages[codec] = page
        if old is not None:
            if not old.live:
                old.drop_if_done()
            elif queue.waiting >= SETTLED_BEHIND:
                old.settle()
        return page

    # -- time

    def shift_mono(self, by_ms: int) -> None:
        """The monotonic clock was set anew (another boot)."""
        for lease in self.lease_lines.live_items():
            if lease.hard_at:
                lease.hard_at += by_ms
        self.lease_lines.shift(by_ms)
        self.wait_lines.shift(by_ms)
        self.mono_timers.shift(by_ms)
        for queue in self.queues.values():
            queue.rate_due += by_ms if queue.rate_due else 0
            if queue.rate is not None:
                queue.rate.at += by_ms
            if queue.lines is not None:
                queue.lines.shift(by_ms)

    def at_wall(self, at_ms: int, action: Callable[["Engine", Any], None], argument: Any) -> Any:
        return self.timers.add(at_ms, action, argument)
