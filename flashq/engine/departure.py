"""A slot leaves this shard: everything that belongs to it is taken out of the engine, live and in replay.

What left is another shard's, or will be (storage/parcels.py has what is carried there). So nothing of it may fall due
here any more: leases, delays, ttls, crons and expiries are taken off their clocks, and what a timer still points to is
empty when it rings. Who waited for jobs of the slot is handed back, to be asked for where the slot is now.

A slot cannot leave while a push in it is half done (`is_busy`): what would end that push is bound to this process.
"""

from typing import TYPE_CHECKING, NamedTuple

from flashq.engine import events
from flashq.engine.hook_lines import drop_failed, leave
from flashq.engine.jobs import Job
from flashq.engine.leases import Lease
from flashq.engine.pages import Page
from flashq.engine.queues import Queue
from flashq.engine.waiters import Waiter
from flashq.engine.waits import JobWait, withdraw
from flashq.protocol.slots import slot_of_queue

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


class Departed(NamedTuple):
    """Who waited for something of a slot that left."""

    pulls: list[Waiter]
    """In the order in which they waited, queue by queue."""
    waits: list[JobWait]
    tied: set[int]
    """Connections that leases of it are tied to."""


def is_busy(engine: "Engine", slot: int) -> bool:
    """Whether a push is under way that only this process can end: with names asked about, or over several slots."""
    return (
        any(job_id & 1023 == slot for job_id in engine.names.pending)
        or any(slot_of_queue(name) == slot for name in engine.names.awaited)
        or any(root & 1023 == slot for root in engine.drafts)
        or any(number == slot for _, number in engine.parts)
    )


def depart(engine: "Engine", slot: int) -> Departed:
    """Take out all of a slot. Its pages stay as they are, for whoever still has them in hand."""
    gone = Departed([], [], set())
    for queue in queues_of(engine, slot):
        _leave_queue(engine, queue, gone)
    found = engine.slots.pop(slot, None)
    if found is not None:
        for page in found.pages.values():
            _leave_page(engine, page, gone.tied)
    _leave_store(engine, slot)
    _leave_crons(engine, slot)
    _leave_deliveries(engine, slot)
    _leave_outbox(engine, slot)
    engine.names.bound = {name: to for name, to in engine.names.bound.items() if slot_of_queue(name) != slot}
    engine.incoming = {name: one for name, one in engine.incoming.items() if slot_of_queue(name) != slot}
    engine.parts = {key: part for key, part in engine.parts.items() if key[1] != slot}
    engine.drafts = {root: draft for root, draft in engine.drafts.items() if root & 1023 != slot}
    return gone


def left(engine: "Engine", event: events.SlotLeft) -> None:
    """It was decided, live or in replay, that another shard has the slot."""
    depart(engine, event.slot)
    engine.arriving.pop(event.slot, None)


def slots_in(engine: "Engine") -> set[int]:
    """Every slot that something is known of here, or is about to be. Linear in names and keys."""
    box, names = engine.outbox, (engine.kv.entries, engine.crons.by_name, engine.crons.aimed, engine.names.bound)
    found = {*engine.slots, *engine.arriving, *(source for source, _ in box.last_sent), *(to for _, to in box.taken)}
    found.update(slot_of_queue(name) for some in (*names, engine.incoming, engine.queues) for name in some)
    return found


def queues_of(engine: "Engine", slot: int) -> list[Queue]:
    """The queues of a slot, by name."""
    return sorted((queue for queue in engine.queues.values() if queue.slot.no == slot), key=lambda queue: queue.name)


def _leave_queue(engine: "Engine", queue: Queue, gone: Departed) -> None:
    totals = engine.totals
    totals.waiting -= queue.waiting
    totals.delayed -= queue.delayed
    totals.active -= queue.active
    totals.dead -= queue.dead_count
    totals.completed_now -= queue.completed
    for waiter in queue.waiters:
        if waiter.live:
            waiter.live = 0
            engine.wait_lines.ended(waiter)
            mine = engine.waits_of[waiter.gid]
            del mine[waiter]
            if not mine:
                del engine.waits_of[waiter.gid]
            gone.pulls.append(waiter)
    for waits in list(queue.watched.values()):
        for wait in list(waits):
            withdraw(engine, wait)
            gone.waits.append(wait)
    queue.waiters.clear()
    queue.drop_lines()
    queue.lines = queue.sweep = queue.rate = None
    queue.kept.clear()
    queue.dead, queue.dead_count = {}, 0
    queue.open_pages = [None, None]
    queue.waiting = queue.delayed = queue.active = queue.held = queue.completed = queue.completed_bytes = 0
    engine.freed.pop(queue, None)
    if queue.touched:
        queue.touched = False
        engine.touched.remove(queue)
    del engine.queues[queue.name]
    if not engine.replaying:
        engine.forgotten.append(queue.name)


def _leave_page(engine: "Engine", page: Page, tied: set[int]) -> None:
    """Its leases end here, and the timers of its records."""
    for lease in {mark for mark in page.leases or () if type(mark) is Lease}:
        if lease.live:
            lease.live = 0
            engine.lease_lines.ended(lease)
        if lease.gid:
            tied.add(lease.gid)
            mine = engine.tied.get(lease.gid)
            if mine is not None and mine.pop(lease, True) is None and not mine:
                del engine.tied[lease.gid]
            held = engine.in_grace.get(lease.gid)
            if held is not None and lease in held:
                held.remove(lease)
    if page.records:
        for job in list.__iter__(page.jobs):
            if type(job) is Job and job.timer is not None:
                engine.timers.cancel(job.timer)


def _leave_store(engine: "Engine", slot: int) -> None:
    for key in [key for key in engine.kv.entries if slot_of_queue(key) == slot]:
        entry = engine.kv.entries.pop(key)
        if entry.moment is not None:
            engine.kv.agenda.cancel(entry.moment)


def _leave_crons(engine: "Engine", slot: int) -> None:
    crons = engine.crons
    for name in [name for name in crons.by_name if slot_of_queue(name) == slot]:
        cron = crons.by_name.pop(name)
        if cron.moment is not None:
            crons.agenda.cancel(cron.moment)
    crons.aimed = {queue: names for queue, names in crons.aimed.items() if slot_of_queue(queue) != slot}


def _leave_deliveries(engine: "Engine", slot: int) -> None:
    for line in engine.hooks.lines.values():
        for delivery in list(line.waiting.values()):
            if slot_of_queue(delivery.happening.queue) == slot:
                leave(engine, line, delivery)
                line.out.pop(delivery.no, None)
        for delivery in list(line.failed.values()):
            if slot_of_queue(delivery.happening.queue) == slot:
                drop_failed(line, delivery.no)


def _leave_outbox(engine: "Engine", slot: int) -> None:
    box = engine.outbox
    box.waiting = {pair: line for pair, line in box.waiting.items() if pair[0] != slot}
    box.last_sent = {pair: no for pair, no in box.last_sent.items() if pair[0] != slot}
    box.taken = {pair: no for pair, no in box.taken.items() if pair[1] != slot}
    box.fresh = {pair for pair in box.fresh if pair[0] != slot}
