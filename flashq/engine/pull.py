"""PULL and PULLB: jobs go out, each under a lease that is in the journal before they leave.

A delivery is a list of parts in order: a `Part` is a stretch of plain jobs with one time of creation, which is
rendered at once; anything else is a `Job` record. One plain job alone is `Lone` (lone_jobs.py).
"""

from typing import Any

from flashq.engine import events
from flashq.engine.deliveries import Delivery, Lone, Part
from flashq.engine.endings import disarm
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job, State
from flashq.engine.lanes import Lane
from flashq.engine.leases import Lease
from flashq.engine.lines import Line, Lines
from flashq.engine.lone_jobs import give_lone
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.queues import Queue
from flashq.engine.telling import tell
from flashq.engine.waiters import Waiter

HUGE = 1 << 62
_ACTIVE = State.ACTIVE


def wanted(engine: Engine, queue: Queue, count: int) -> int:
    """How many of `count` jobs the queue may give now: pause and limits. Sees to it that a token is not slept over."""
    if queue.paused:
        return 0
    if queue.concurrency is not None:
        count = min(count, queue.concurrency - queue.active)
    rate = queue.rate
    if rate is not None:
        tokens = rate.tokens(engine.mono_ms)
        if tokens < count:
            count = tokens
        at = rate.next_at() if tokens <= 0 else None
        if at is not None and (not queue.rate_due or at < queue.rate_due):
            queue.rate_due = at
            engine.mono_timers.add(at, _token_due, queue)
    return count


def _token_due(engine: Engine, queue: Queue) -> None:
    if queue.rate_due <= engine.mono_ms:
        queue.rate_due = 0
    engine.free(queue)


def deliver(
    engine: Engine, queue: Queue, count: int, *, lease_ms: int | None = None, gid: int = 0
) -> Delivery | Lone | None:  # fmt: skip
    """Up to `count` ready jobs under a new lease, and no more than `reply_bytes_max` of payload; None: none are ready.

    `lease_ms`: the soft deadline; default is the configured one. `gid`: the connection they are tied to.
    """
    if count == 1:
        lone = give_lone(engine, queue, lease_ms or engine.limits.lease_ms, gid)
        if lone is not None:
            return lone
    if queue.gate:
        count = wanted(engine, queue, count)
    if queue.next_due and queue.next_due <= engine.now_ms:
        _bring_due(engine, queue)
    if count <= 0 or not (queue.top is not None or (queue.lines is not None and queue.lines.is_open())):
        return None
    token = engine.next_token()
    soft_ms = lease_ms or engine.limits.lease_ms
    giving = _Giving(engine, queue, token, soft_ms, gid)
    room = engine.limits.reply_bytes_max
    left = count
    if queue.lines is not None and queue.lines.lines:
        return _from_lines(giving, queue, queue.lines, left, room)
    while left and room > 0 and (lane := queue.top) is not None:
        first = lane.fifo[lane.head] if lane.plain_run() else -1
        page = queue.slot.pages[first >> PAGE_BITS] if first >= 0 else None
        if page is not None and not page.records:
            n, size = giving.run(page, first & (PAGE - 1), lane.run_at_head(min(left, PAGE)), room)
            lane.advance(n)
        else:
            n, size = giving.records(lane, left, room) if first >= 0 else (0, 0)
            if not n:
                n, size = giving.one(lane.pop(queue.ready_at), room)
        if not n:
            break
        left -= n
        room -= size
        if not len(lane):
            queue.lower_top()
    return giving.done()


def _from_lines(giving: "_Giving", queue: Queue, lines: Lines, left: int, room: int) -> Delivery | None:
    """As `deliver`, where jobs of groups or keys are among those that are ready: one at a time, in turns."""
    while left and room > 0:
        lane = queue.top
        if lane is None and lines.only_keys():
            line = lines.next_key()
            n, size = giving.bound(lines, line, room) if line is not None else (0, 0)
            if not n:
                break
            left -= n
            room -= size
            continue
        free, keyed = lines.best()
        if lane is not None:
            first = lane.peek(queue.ready_at)
            # The lane's head against the heads of groups' lines: priority, moment, push order.
            if free is not None and (free.order, (free.moment, free.seq)) < (-lane.priority, first):
                lane = None
        served = free if lane is None else None
        order = -lane.priority if lane is not None else free.order if free is not None else None
        if keyed is not None and (
            order is None or keyed.order < order or (keyed.order == order and keyed.moment <= lines.lane_turn)
        ):
            served, lane = keyed, None
        elif lane is None and served is None:
            break
        if lane is not None:
            n, size = giving.one(lane.pop(queue.ready_at), room)
            lines.lane_served()
            if not len(lane):
                queue.lower_top()
        else:
            assert served is not None
            n, size = giving.bound(lines, served.line, room)
            if served is free:
                lines.lane_served()
        if not n:
            break
        left -= n
        room -= size
    return giving.done()


def _bring_due(engine: Engine, queue: Queue) -> None:
    moved = queue.move_due(engine.now_ms)
    engine.totals.delayed -= moved
    engine.totals.waiting += moved
    if not queue.later or queue.later[0][0] > engine.now_ms:
        queue.next_due = 0
        from flashq.engine.push import arm  # push serves waiting pulls, and a pull looks at what is due

        arm(engine, queue)


class _Giving:
    """One pull in the making."""

    __slots__ = ("count", "engine", "gid", "lease", "lone", "parts", "queue", "soft_ms", "token")

    def __init__(self, engine: Engine, queue: Queue, token: int, soft_ms: int, gid: int) -> None:
        self.engine = engine
        self.queue = queue
        self.token = token
        self.soft_ms = soft_ms
        self.gid = gid
        self.lease: Lease | None = None
        """Shared by the jobs of this pull, but for those whose options end it at another moment."""
        self.parts: list[Part | Job] = []
        self.lone: list[int] = []
        """Ids that are no part of a run."""
        self.count = 0

    def run(self, page: Page, i: int, n: int, room: int) -> tuple[int, int]:
        """`n` neighbouring plain jobs of a page; how many were taken (fewer if they are large), and their bytes."""
        n = min(n, PAGE - i)
        payloads = page.jobs[i : i + n]
        size = sum(map(len, payloads))
        if size > room and (n > 1 or self.count):
            n, size = _fitting(payloads, room)
            if not n and not self.count:
                n, size = 1, len(payloads[0])
            payloads = payloads[:n]
            if not n:
                return 0, 0
        lease = self.shared()
        marks = page.marks()
        if n == 1:
            marks[i] = lease
        else:
            marks[i : i + n] = [lease] * n
        lease.live += n
        seq = page.base + i
        lease.seqs.append(range(seq, seq + n))
        slot_no, times, now = self.queue.slot.no, self.queue.times, self.engine.now_ms
        first = seq << 10 | slot_no
        self.engine.events.append(
            events.pack_leased(events.LEASED, events.LEASED_BYTES, self.token, self.soft_ms, self.gid, 0, first, n)
        )
        if page.ms[-1] == page.ms[0]:
            self.parts.append(
                Part(range(first, first + n * 1024, 1024), payloads, page.ms[0], page.codec, page.defaults)
            )
            times.waited(now - page.ms[0], n)
        else:
            for start, stop, created_at in page.created_runs(i, i + n):
                ids = range((page.base + start) << 10 | slot_no, (page.base + stop) << 10 | slot_no, 1024)
                part = Part(ids, payloads[start - i : stop - i], created_at, page.codec, page.defaults)
                self.parts.append(part)
                times.waited(now - created_at, stop - start)
        self.count += n
        return n, size

    def one(self, seq: int | None, room: int) -> tuple[int, int]:
        """A job by its number, plain or not."""
        if seq is None:
            return 0, 0
        queue = self.queue
        page = queue.slot.pages[seq >> PAGE_BITS]
        i = seq & (PAGE - 1)
        job = page.jobs[i]
        if type(job) is not Job:
            n, size = self.run(page, i, 1, room)
            if not n:
                queue.lane.put_back(seq)
            return n, size
        size = len(job.data)
        if size > room and self.count:
            queue.lane_of(job.priority).put_back(seq)
            return 0, 0
        self._lend(page, i, job)
        return 1, size

    def records(self, lane: Lane, left: int, room: int) -> tuple[int, int]:
        """Records at the head of a lane that has nothing but its line: as `one` for each, in one go.

        Up to the first that is none, or that needs more than a share in the lease of this pull.
        """
        fifo, head = lane.fifo, lane.head
        pages, slot_no = self.queue.slot.pages, self.queue.slot.no
        first = pages[fifo[head] >> PAGE_BITS].jobs[fifo[head] & (PAGE - 1)]
        if not _shares(first) or (self.count and len(first.data) > room):
            return 0, 0
        now, token = self.engine.now_ms, self.token
        lease, parts, lone = self.shared(), self.parts, self.lone
        seqs = lease.seqs
        n, before = 0, room
        ready_at, alike, times = first.run_at, 0, self.queue.times
        for seq in fifo[head : head + left]:
            page, i = pages[seq >> PAGE_BITS], seq & (PAGE - 1)
            job = page.jobs[i]
            if not _shares(job):
                break
            size = len(job.data)
            if size > room and (n or self.count):
                break
            room -= size
            job.state = _ACTIVE
            job.started_at = job.last_heartbeat = now
            job.token = token
            (page.leases or page.marks())[i] = lease
            if seqs and seqs[-1].stop == seq:
                seqs[-1] = range(seqs[-1].start, seq + 1)
            else:
                seqs.append(range(seq, seq + 1))
            lone.append(seq << 10 | slot_no)
            parts.append(job)
            n += 1
            if job.run_at != ready_at:
                times.waited(now - ready_at, alike)
                ready_at, alike = job.run_at, 0
            alike += 1
            if room <= 0:
                break
        lease.live += n
        self.count += n
        if n:
            times.waited(now - ready_at, alike)
            lane.advance(n)
        return n, before - room

    def _lend(self, page: Page, i: int, job: Job) -> None:
        """A record is given: under the lease of this pull, unless its own options end it at another moment."""
        if job.timeout or job.options.stall_timeout:
            lend(self.engine, page, i, job, self.token, self.soft_ms, self.gid)
        else:
            activate(self.engine, job, self.token)
            lease = self.shared()
            lease.live += 1
            seq, seqs = job.seq, lease.seqs
            if seqs and seqs[-1].stop == seq:
                seqs[-1] = range(seqs[-1].start, seq + 1)
            else:
                seqs.append(range(seq, seq + 1))
            (page.leases or page.marks())[i] = lease
        self.queue.times.waited(self.engine.now_ms - job.run_at)
        self.lone.append(job.seq << 10 | page.slot.no)
        self.parts.append(job)
        self.count += 1

    def bound(self, lines: Lines, line: Line, room: int) -> tuple[int, int]:
        """The head of a line that may be served."""
        head = line.head()
        assert head is not None
        job = head[3]
        size = len(job.data)
        if size > room and self.count:
            return 0, 0
        lines.take(line)
        page = self.queue.slot.pages[job.seq >> PAGE_BITS]
        self._lend(page, job.seq & (PAGE - 1), job)
        lines.after(line)
        return 1, size

    def shared(self) -> Lease:
        lease = self.lease
        if lease is None:
            engine = self.engine
            deadline = engine.mono_ms + self.soft_ms
            lease = self.lease = Lease(self.token, self.queue, engine.now_ms, self.soft_ms, deadline, self.gid)
            engine.lease_lines.add(lease, self.soft_ms)
            if self.gid:
                engine.tied.setdefault(self.gid, {})[lease] = None
        return lease

    def done(self) -> Delivery | None:
        n = self.count
        if not n:
            return None
        engine, queue = self.engine, self.queue
        if self.lone:
            engine.events.append(events.leased_ids(self.token, self.soft_ms, self.gid, self.lone))
        if queue.heard:
            for part in self.parts:
                for job_id in part.ids if isinstance(part, Part) else (part.id,):
                    tell(engine, "active", queue.name, job_id)
        queue.waiting -= n
        queue.active += n
        if queue.rate is not None:
            queue.rate.take(engine.mono_ms, n)
        totals = engine.totals
        totals.waiting -= n
        totals.active += n
        if not queue.touched:
            engine.touch(queue)
        return Delivery(queue, self.token, engine.now_ms, self.parts, n)


def _shares(job: bytes | Job) -> bool:
    """Whether it is a record that nothing else hangs on, whose lease ends with those of the others of its pull."""
    return type(job) is Job and not (job.timeout or job.bound or job.timer is not None or job.options.stall_timeout)


def _fitting(payloads: list[bytes], room: int) -> tuple[int, int]:
    total = 0
    for n, payload in enumerate(payloads):
        if total + len(payload) > room:
            return n, total
        total += len(payload)
    return len(payloads), total


def lend(engine: Engine, page: Page, i: int, job: Job, token: int, soft_ms: int, gid: int) -> Lease:
    """A record becomes active, under a lease of its own: its `timeout` is a hard deadline beside the soft one."""
    activate(engine, job, token)
    now = engine.now_ms
    soft = job.options.stall_timeout or soft_ms
    lasts = min(job.timeout, soft) if job.timeout else soft
    lease = Lease(token, job.queue, now, soft, engine.mono_ms + lasts, gid)
    lease.hard_at = engine.mono_ms + job.timeout if job.timeout else 0
    lease.live = 1
    lease.seqs.append(range(job.seq, job.seq + 1))
    page.marks()[i] = lease
    engine.lease_lines.add(lease, lasts)
    if gid:
        engine.tied.setdefault(gid, {})[lease] = None
    return lease


def activate(engine: Engine, job: Job, token: int) -> None:
    """A record becomes active. Its `ttl` has done its work, which is to drop what nobody came for."""
    if job.timer is not None:
        disarm(engine, job)
    job.state = State.ACTIVE
    job.started_at = job.last_heartbeat = engine.now_ms
    job.token = token
    if job.bound:
        assert job.queue.lines is not None
        job.queue.lines.lent(job)


# -- pulls that wait


def wait(
    engine: Engine, queue: Queue, gid: int, ticket: Any, count: int, timeout_ms: int, lease_ms: int | None, tied: bool
) -> Waiter:
    """Nothing is ready: the pull waits its turn."""
    waiter = Waiter(queue, gid, ticket, count, engine.mono_ms + timeout_ms, lease_ms, tied)
    queue.waiters.append(waiter)
    engine.wait_lines.add(waiter, timeout_ms)
    engine.waits_of.setdefault(gid, {})[waiter] = None
    return waiter


def serve(engine: Engine, queue: Queue) -> None:
    """Jobs have become ready: hand them to the pulls that wait, first come first served."""
    waiters = queue.waiters
    passed_over = []
    while waiters and (queue.top is not None or queue.has_ready()):
        waiter = waiters[0]
        if not waiter.live:
            waiters.popleft()
            queue.waiters_dead -= 1
            continue
        if not waiter.takes_jobs():
            passed_over.append(waiters.popleft())
            continue
        gid = waiter.gid if waiter.tied else 0
        delivery: Delivery | Lone | None = None
        if waiter.count <= 1:
            delivery = give_lone(engine, queue, waiter.lease_ms or engine.limits.lease_ms, gid)
        if delivery is None:
            delivery = deliver(engine, queue, waiter.count or 1, lease_ms=waiter.lease_ms, gid=gid)
            if delivery is None:
                break
        waiters.popleft()
        # As `end_wait`, spelled out: a worker waits for it. Its place in the queue is gone already.
        waiter.live = 0
        engine.wait_lines.ended(waiter)
        mine = engine.waits_of[waiter.gid]
        if len(mine) == 1:
            del engine.waits_of[waiter.gid]
        else:
            del mine[waiter]
        engine.woken.append((waiter, delivery))
    if passed_over:
        waiters.extendleft(reversed(passed_over))


def serve_freed(engine: Engine) -> None:
    """Limits are not reached any more: pulls that wait are looked at again."""
    queues, engine.freed = engine.freed, {}
    for queue in queues:
        serve(engine, queue)


def end_wait(engine: Engine, waiter: Waiter) -> None:
    """It waits no longer. Its place in the queue is skipped when it comes up."""
    waiter.live = 0
    engine.wait_lines.ended(waiter)
    _withdraw(engine, waiter)


def _withdraw(engine: Engine, waiter: Waiter) -> None:
    """Forget a wait that has ended; the line of its queue is rebuilt when more than half of it is dead."""
    mine = engine.waits_of.get(waiter.gid)
    if mine is not None:
        mine.pop(waiter, None)
        if not mine:
            del engine.waits_of[waiter.gid]
    queue = waiter.queue
    queue.waiters_dead += 1
    if queue.waiters_dead > 64 and queue.waiters_dead * 2 > len(queue.waiters):
        live = [w for w in queue.waiters if w.live]
        queue.waiters.clear()
        queue.waiters.extend(live)
        queue.waiters_dead = 0


def give_up_waits(engine: Engine, mono_ms: int) -> None:
    """Pulls whose timeout has come get nothing."""
    for waiter in engine.wait_lines.expired(mono_ms):
        waiter.live = 0
        _withdraw(engine, waiter)
        engine.woken.append((waiter, None))
