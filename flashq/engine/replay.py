"""Replay: the state again, from the journal's events. It applies what was decided and judges nothing.

Monotonic times of different boots cannot be compared: replay runs on a clock of its own that goes on from the last
record of one boot to the first of the next as if no time had passed, and is set against the machine's clock at the end.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Raw

from flashq.engine import (
    bundles,
    chosen,
    control,
    control_jobs,
    crons,
    dead_letters,
    departure,
    dependencies,
    drafts,
    endings,
    hook_deliveries,
    housekeeping,
    incoming,
    kv,
    limits,
    outbox,
    part_names,
    parts,
    removal,
    retry,
    storing,
    watching,
    webhooks,
)  # fmt: skip
from flashq.engine.ack import ack_run
from flashq.engine.endings import as_record, complete, evict_run, forget, leave
from flashq.engine.engine import Engine
from flashq.engine.events import (
    Accepted,
    Acks,
    Answered,
    CronAimed,
    CronRan,
    CronRemoved,
    CronSet,
    DeadPurged,
    DefaultsSet,
    Died,
    Discarded,
    DraftBegun,
    DraftEnded,
    Drained,
    Evicted,
    Expired,
    Fates,
    HookRemoved,
    HooksAgain,
    HookSet,
    HooksFired,
    HooksTried,
    IdsUnused,
    IncomingSet,
    JobsPushed,
    KvExpirySet,
    KvRemoved,
    KvStored,
    Leases,
    LimitSet,
    NamesBound,
    NamesFreed,
    Obliterated,
    Outlived,
    PageOpened,
    PagesReserved,
    PartNamed,
    Posted,
    QueueForgotten,
    QueuePaused,
    Released,
    Removed,
    Renewed,
    Retried,
    Revived,
    Run,
    SettingsChosen,
    SlotLeft,
    SlotPart,
    Stored,
    Taken,
    Told,
    TotalsReset,
    Uncrashed,
    Watched,
    parsed,
)  # fmt: skip
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Lease
from flashq.engine.pages import PAGE, PAGE_BITS, SETTLED_BEHIND, Page
from flashq.engine.pull import lend
from flashq.engine.push import admit, counted_in, decided
from flashq.engine.queues import Queue
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import FULL, entries_of, folded


class Replayer:
    """Feeds records to an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._boot = ""
        self._offset = 0
        self._last = 0
        self.records = 0
        engine.replaying = True

    @property
    def clock(self) -> tuple[str, int, int]:
        """Where its own monotonic time stands: boot, offset and moment of the last record."""
        return self._boot, self._offset, self._last

    def go_on_from(self, clock: tuple[str, int, int]) -> None:
        """The engine was restored to what an earlier replay had made of it, and this is where its time stood."""
        self._boot, self._offset, self._last = clock

    def apply(self, at_ms: int, mono_ms: int, boot: str, events: bytes) -> None:
        """One record."""
        self.begin(at_ms, mono_ms, boot)
        for event in parsed(events):
            APPLY[type(event)](self.engine, event)
        self.end()

    def begin(self, at_ms: int, mono_ms: int, boot: str) -> None:
        """The events of a record of this time come now."""
        if boot != self._boot:
            self._offset = self._last - mono_ms if self._boot else 0
            self._boot = boot
        self._last = mono_ms + self._offset
        self.engine.begin(at_ms, self._last)
        self.records += 1

    def end(self) -> None:
        """They were applied."""
        self.engine.events.clear()
        self.engine.woken.clear()
        self.engine.freed.clear()

    def finish(self, boot: str, mono_ms: int, *, clean: bool) -> None:
        """The last record is applied: set the clock, and start on fresh pages of ids.

        After an unclean stop the ids reserved ahead may have been told to somebody, so counting goes on behind them.
        """
        engine = self.engine
        shift = -self._offset if boot == self._boot else mono_ms - self._last
        if self._boot and shift:
            engine.shift_mono(shift)
        for slot in engine.slots.values():
            if not clean:
                slot.next_page = max(slot.next_page, slot.reserved_page)
        for queue in engine.queues.values():
            queue.open_pages = [None, None]
            if queue.lines is not None:
                queue.lines.replayed()
        for slot in engine.slots.values():
            for page in list(slot.pages.values()):
                if not page.live:
                    page.drop_if_done()
        engine.times.clear()
        engine.replaying = False


def page_at(engine: Engine, queue: Queue, no: int, codec: int) -> Page:
    slot = queue.slot
    page = slot.pages.get(no)
    if page is None:
        page = slot.pages[no] = engine.make_page(slot, no, queue, codec, engine.defaults)
        slot.next_page = max(slot.next_page, no + 1)
        old = queue.open_pages[codec]
        queue.open_pages[codec] = page
        if old is not None:
            if not old.live:
                old.drop_if_done()
            elif queue.waiting >= SETTLED_BEHIND:
                old.settle()
    return page


def fill(page: Page, i: int) -> None:
    """Places before the next job that no event mentions were never told to anyone."""
    missing = i - len(page.jobs)
    if missing < 0:
        raise ValueError(f"job {page.base + i} of slot {page.slot.no} is pushed twice in the journal")
    page.jobs.extend([None] * missing)


def _pushed(engine: Engine, event: Run) -> None:
    command = FULL[event.codec](event.frame)  # type: ignore[index]
    queue = engine.queue(command.queue)
    entries = entries_of(command)
    payloads = [payload_of(e.data, event.codec) for e in entries]
    done = 0
    for first, count in event.runs:
        seq = first >> 10
        end = seq + count
        while seq < end:
            page = page_at(engine, queue, seq >> PAGE_BITS, event.codec)
            i = seq & (PAGE - 1)
            step = min(PAGE - i, end - seq)
            fill(page, i)
            if page.last_ms != engine.now_ms:
                page.mark(engine.now_ms)
            page.jobs += payloads[done : done + step]
            page.live += step
            queue.lane.extend(range(seq, seq + step))
            seq += step
            done += step
    counted_in(engine, queue, done)


def _jobs_pushed(engine: Engine, event: JobsPushed) -> None:
    command = FULL[event.codec](event.frame)  # type: ignore[index]
    queue = engine.queue(command.queue)
    entries = entries_of(command)
    left_out = {*event.refused, *event.existing}
    ids = event.ids
    if event.existing:
        ids = [job_id for k, job_id in zip(accepted_of(entries, event), ids, strict=True) if k not in left_out]
    stored = [entry for k, entry in enumerate(entries) if k not in left_out] if left_out else entries
    for entry, job_id in zip(stored, ids, strict=True):
        put_job(engine, queue, event.codec, entry, job_id)


def accepted_of(entries: Sequence[Any], event: JobsPushed) -> list[int]:
    """Indexes of the entries that `ids` are of."""
    refused = set(event.refused)
    return [k for k in range(len(entries)) if k not in refused]


def put_job(engine: Engine, queue: Queue, codec: int, entry: Any, job_id: int, draft: int = 0) -> Job:
    """A job with options goes where it was put. `draft`: it is held until that is accepted."""
    seq = job_id >> 10
    page, i = page_at(engine, queue, seq >> PAGE_BITS, codec), seq & (PAGE - 1)
    if i >= len(page.jobs) or page.jobs[i] is not None:
        fill(page, i)
        if page.last_ms != engine.now_ms:
            page.mark(engine.now_ms)
        page.jobs.append(None)
    # Else it had its place before jobs that came after it: its id was put aside while its name was asked about.
    payload = payload_of(entry.data, codec)
    entry.data = _NOTHING
    folded(entry)
    job = decided(page, seq, storing.options_of(entry) if draft else entry, payload, engine.now_ms)
    if draft:
        storing.join(job, entry, draft)
    page.jobs[i] = job
    page.live += 1
    page.records += 1
    admit(engine, job)
    return job


_NOTHING = Raw(b"null")


def _place(engine: Engine, job_id: int) -> tuple[Page, int]:
    seq = job_id >> 10
    page = engine.slots[job_id & 1023].pages[seq >> PAGE_BITS]
    i = seq & (PAGE - 1)
    if page.jobs[i] is None:
        raise ValueError(f"an event names job {job_id}, which has ended")
    return page, i


def _leased(engine: Engine, event: Leases) -> None:
    engine.see_token(event.token)
    shared: Lease | None = None
    count_tokens(engine, event)
    if isinstance(event.ids, range) and _leased_run(engine, event):
        return
    for job_id in event.ids:
        page, i = _place(engine, job_id)
        queue = page.queue
        job = page.jobs[i]
        if type(job) is Job:
            _step_out_to_active(engine, queue, job)
            lend(engine, page, i, job, event.token, event.soft_ms, event.gid)
            continue
        if shared is None:
            shared = _shared(engine, queue, event)
        seq = page.base + i
        _take_plain(queue, seq)
        page.marks()[i] = shared
        shared.live += 1
        if shared.seqs and shared.seqs[-1].stop == seq:
            shared.seqs[-1] = range(shared.seqs[-1].start, seq + 1)
        else:
            shared.seqs.append(range(seq, seq + 1))
        queue.waiting -= 1
        queue.active += 1
        engine.totals.waiting -= 1
        engine.totals.active += 1


def _shared(engine: Engine, queue: Queue, event: Leases) -> Lease:
    """The lease that the plain jobs of a pull share."""
    lease = Lease(event.token, queue, engine.now_ms, event.soft_ms, engine.mono_ms + event.soft_ms, event.gid)
    engine.lease_lines.add(lease, event.soft_ms)
    if event.gid:
        engine.tied.setdefault(event.gid, {})[lease] = None
    return lease


def _leased_run(engine: Engine, event: Leases) -> bool:
    """Neighbouring plain jobs of one page at the head of their lane, in slices. False, nothing changed, if not so."""
    first, n = event.ids[0] >> 10, len(event.ids)
    page = engine.slots[event.ids[0] & 1023].pages[first >> PAGE_BITS]
    queue, i = page.queue, first & (PAGE - 1)
    lane = queue.lane
    if page.records or i + n > PAGE or not lane.plain_run() or len(lane.fifo) - lane.head < n:
        return False
    if lane.fifo[lane.head] != first or lane.run_at_head(n) != n or None in page.jobs[i : i + n]:
        return False
    lease = _shared(engine, queue, event)
    lease.live = n
    lease.seqs.append(range(first, first + n))
    page.marks()[i : i + n] = [lease] * n
    lane.advance(n)
    if not len(lane):
        queue.lower_top()
    queue.waiting -= n
    queue.active += n
    engine.totals.waiting -= n
    engine.totals.active += n
    return True


def count_tokens(engine: Engine, event: Leases) -> None:
    """A rate limit's bucket is, after a restart, what it was."""
    queue = _place(engine, event.ids[0])[0].queue
    if queue.rate is not None:
        queue.rate.take(engine.mono_ms, len(event.ids))


def _take_plain(queue: Queue, seq: int) -> None:
    """Out of its lane: nearly always it is the head."""
    lane = queue.lane
    if lane.plain_run() and lane.fifo[lane.head] == seq:
        lane.advance(1)
    else:
        lane.remove(seq)
    if not len(lane):
        queue.lower_top()


def _step_out_to_active(engine: Engine, queue: Queue, job: Job) -> None:
    if job.state is State.WAITING:
        engine.totals.waiting -= 1
    else:
        engine.totals.delayed -= 1
    queue.step_out(job)
    queue.active += 1
    engine.totals.active += 1


def _acked(engine: Engine, event: Acks) -> None:
    ids = event.ids
    done = isinstance(ids, range) and len(ids) > 1 and ack_run(engine, ids[0], len(ids))
    if not done:
        for job_id in ids:
            page, i = _place(engine, job_id)
            complete(engine, page, i, result=event.result, codec=event.codec)
    first, count = event.evicted
    if count:
        evict_run(engine, first, count)


def _evicted(engine: Engine, event: Evicted) -> None:
    for first, count in event.runs:
        evict_run(engine, first, count)


def _retried(engine: Engine, event: Retried) -> None:
    page, i = _place(engine, event.id)
    if event.cause == "stalled":
        as_record(page, i).stalls += 1
    retry.try_again(engine, page, i, event.attempts, event.run_at, event.error)


def _died(engine: Engine, event: Died) -> None:
    page, i = _place(engine, event.id)
    if event.cause == "crashed":
        retry.give_up_lost(engine, page, i, event.error)
        return
    if event.cause == "stalled":
        as_record(page, i).stalls += 1
    retry.give_up(engine, page, i, event.attempts, event.error)


def _released(engine: Engine, event: Released) -> None:
    for job_id in event.ids:
        page, i = _place(engine, job_id)
        (retry.crash_back if event.crash else retry.hand_back)(engine, page, i)


def _renewed(engine: Engine, event: Renewed) -> None:
    page, i = _place(engine, event.id)
    retry.renew(engine, page, i)


def _expired(engine: Engine, event: Expired) -> None:
    for job_id in event.ids:
        page, i = _place(engine, job_id)
        leave(engine, page, i)
        forget(engine, page, i, bad=True)


def _controlled(engine: Engine, event: Any) -> None:
    page, i = _place(engine, event.id)
    control_jobs.APPLY[type(event)](engine, page, i, event)


def _paused(engine: Engine, event: QueuePaused) -> None:
    control.set_paused(engine, engine.queue(event.queue), event.paused)


def _defaults(engine: Engine, event: DefaultsSet) -> None:
    engine.defaults = engine.recorded_defaults = event.defaults
    for queue in engine.queues.values():
        queue.open_pages = [None, None]


def _reserved(engine: Engine, event: PagesReserved) -> None:
    slot = engine.slot(event.slot)
    slot.reserved_page = max(slot.reserved_page, event.through)


def _answered(engine: Engine, event: Answered) -> None:
    engine.answers.keep(engine.limits, event.scope, event.key, event.digest, event.reply, engine.now_ms, event.slot)


def _uncrashed(engine: Engine, event: Uncrashed) -> None:
    page, i = _place(engine, event.id)
    retry.uncrash(as_record(page, i))


def _limit(engine: Engine, event: LimitSet) -> None:
    limits.apply(engine, engine.queue(event.queue), event.kind, event.limit)


def _taken(engine: Engine, event: Taken) -> None:
    engine.outbox.taken[event.source, event.target] = event.no


def _names_bound(engine: Engine, event: NamesBound) -> None:
    engine.names.bound.update(zip(event.names, event.ids, strict=True))


def _names_freed(engine: Engine, event: NamesFreed) -> None:
    for name in event.names:
        engine.names.bound.pop(name, None)


def _page_opened(engine: Engine, event: PageOpened) -> None:
    slot = engine.slot(event.slot)
    slot.next_page = max(slot.next_page, event.page + 1)


def _ids_unused(engine: Engine, event: IdsUnused) -> None:
    for job_id in event.ids:
        engine.slot(job_id & 1023).bad.add(job_id >> 10, (job_id >> 10) + 1)


def _told(engine: Engine, event: Told) -> None:
    outbox.forget(engine, event.source, event.target, event.through)


def _revived(engine: Engine, event: Revived) -> None:
    for job_id in event.ids:
        dead_letters.revive(engine, *_place(engine, job_id))


def _stored(engine: Engine, event: Stored) -> None:
    children = storing.decoded(event.codec, event.frame)
    jobs = [
        put_job(engine, engine.queue(child.queue), event.codec, child, job_id, event.root)
        for (child, _), job_id in zip(children, event.ids, strict=True)
    ]
    for name, runs, _ in event.bundles:
        queue = engine.queue(name)
        for first, count in runs:
            page = page_at(engine, queue, first >> 10 + PAGE_BITS, event.codec)
            fill(page, first >> 10 & (PAGE - 1))
            bundles.hold_places(engine, page, count)
        queue.open_pages[event.codec] = None
    placed = [bundles.Bundle(*bundle) for bundle in event.bundles]
    parts.answer(engine, storing.put_part(engine, event.root, event.slot, jobs, placed))


def _outlived(engine: Engine, event: Outlived) -> None:
    for first_id, count in event.runs:
        endings.outlived(engine, first_id, count)


def _queue_forgotten(engine: Engine, event: QueueForgotten) -> None:
    housekeeping.forget_queue(engine, engine.queue(event.queue))


def _slot_part(engine: Engine, event: SlotPart) -> None:
    arrivals = engine.arriving
    if event.no == 0:
        arrivals[event.slot] = []
    if event.no != len(arrivals.get(event.slot, ())):
        raise ValueError(f"part {event.no} of slot {event.slot} comes out of turn")
    arrivals[event.slot].append(event.body)


APPLY: dict[type[Any], Callable[[Engine, Any], None]] = {
    Run: _pushed,
    JobsPushed: _jobs_pushed,
    Leases: _leased,
    Acks: _acked,
    Evicted: _evicted,
    Retried: _retried,
    Died: _died,
    Released: _released,
    Renewed: _renewed,
    Expired: _expired,
    QueuePaused: _paused,
    DefaultsSet: _defaults,
    PagesReserved: _reserved,
    Answered: _answered,
    Uncrashed: _uncrashed,
    Posted: outbox.keep,
    Taken: _taken,
    Told: _told,
    NamesBound: _names_bound,
    NamesFreed: _names_freed,
    PageOpened: _page_opened,
    IdsUnused: _ids_unused,
    KvStored: kv.store,
    KvRemoved: kv.remove,
    KvExpirySet: kv.set_expiry,
    CronSet: crons.set_,
    CronRan: crons.ran,
    CronRemoved: crons.removed,
    CronAimed: crons.aim,
    IncomingSet: incoming.set_,
    SettingsChosen: chosen.set_,
    TotalsReset: chosen.totals_reset,
    HookSet: webhooks.set_,
    HookRemoved: webhooks.removed,
    HooksFired: hook_deliveries.fired,
    HooksTried: hook_deliveries.tried,
    HooksAgain: hook_deliveries.again,
    LimitSet: _limit,
    Drained: removal.drained,
    Obliterated: removal.obliterated,
    DeadPurged: removal.dead_purged,
    Removed: removal.removed,
    Revived: _revived,
    Watched: watching.watched,
    Fates: dependencies.learn,
    Stored: _stored,
    DraftBegun: drafts.begun,
    DraftEnded: drafts.ended,
    Accepted: storing.accept,
    Discarded: storing.discard,
    PartNamed: part_names.named,
    Outlived: _outlived,
    QueueForgotten: _queue_forgotten,
    SlotPart: _slot_part,
    SlotLeft: departure.left,
    **dict.fromkeys(control_jobs.APPLY, _controlled),
}
