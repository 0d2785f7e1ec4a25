"""A queue: its lanes, its delayed jobs, who waits at it, what it counts and what it keeps."""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, Final

from flashq.engine.job_times import JobTimes
from flashq.engine.jobs import Job, State
from flashq.engine.lanes import Lane
from flashq.engine.leases import Done
from flashq.engine.lines import Lines
from flashq.engine.pages import PAGE, PAGE_BITS, Page, Slot
from flashq.engine.rate_limits import Bucket

LOOKED_AT: Final = 3
"""Entries of a heap with many stale ones that are looked at with each job that leaves it: done before it is empty."""
MOVED_AT_ONCE: Final = 1_000
"""Delayed jobs that are moved into their lanes in one go: about a millisecond's work."""


class Sweep:
    """What removal has still to clear away of one queue: jobs that do not exist any more for anybody."""

    __slots__ = ("dead", "pages", "trash")

    def __init__(self) -> None:
        self.pages: list[int] = []
        """Numbers of the pages that have yet to be looked at, in falling order."""
        self.dead: list[dict[int, None]] = []
        """Dead letters, by sequence number."""
        self.trash: list[list[Any]] = []
        """Lines that nobody needs: a million tuples freed at once would take 50 ms."""


class Kept:
    """A stretch of completed jobs of one page that is still remembered."""

    __slots__ = ("bytes", "done", "page", "row", "start", "stop")
    row: int
    """The number of its row in the tables. Unset but where the tables are made."""

    def __init__(self, page: Page, start: int, stop: int, done: Done, size: int) -> None:
        self.page = page
        self.start = start
        self.stop = stop
        self.done = done
        self.bytes = size


class Queue:
    """All that is known of one named line."""

    __slots__ = (
        "_seen",
        "active",
        "completed",
        "completed_bytes",
        "completed_total",
        "concurrency",
        "dead",
        "dead_count",
        "debounced",
        "delayed",
        "delayed_stale",
        "era",
        "era_base",
        "failed_total",
        "gate",
        "heard",
        "held",
        "kept",
        "key_concurrency",
        "key_rate",
        "lane",
        "lanes",
        "later",
        "lines",
        "listed",
        "name",
        "next_due",
        "older",
        "open_pages",
        "pages",
        "paused",
        "priorities",
        "pushed_total",
        "rate",
        "rate_due",
        "row",
        "slot",
        "sweep",
        "times",
        "top",
        "touched",
        "unique",
        "used_at",
        "void_base",
        "waiters",
        "waiters_dead",
        "waiting",
        "watched",
    )

    def __init__(self, name: str, slot: Slot, times: JobTimes) -> None:
        self.name = name
        self.slot = slot
        self.times = times
        self.lane = Lane(0)
        """The lane of priority 0, which most jobs are in."""
        self.lanes = {0: self.lane}
        self.priorities: list[int] = []
        """A heap of the negated priorities that may have ready jobs, when there are others than 0."""
        self.listed: set[int] = set()
        """The priorities in that heap, not negated."""
        self.top: Lane | None = None
        """The first lane that has ready jobs."""
        self.later: list[tuple[int, int, int]] = []
        """A heap of (run_at, -priority, seq). Its head is the first of all."""
        self.older: list[tuple[int, int, int]] = []
        """While stale entries are sorted out: a heap of those that are not looked at yet."""
        self._seen: dict[int, int] = {}
        """By page: a bit for each job whose entry was kept when they were."""
        self.next_due = 0
        """The moment a timer is set for; 0: none."""
        self.delayed_stale = 0
        self.open_pages: list[Page | None] = [None, None]
        self.pages: dict[int, Page] = {}
        """All pages that hold jobs of it, by number."""
        self.era = 0
        """How often its lines were drained: eras.py has this and the next three."""
        self.era_base = 0
        self.void_base = 0
        self.sweep: Sweep | None = None
        self.waiters: deque[Any] = deque()
        self.waiters_dead = 0
        """How many of them have ended; they are skipped when they come up."""
        self.waiting = 0
        self.delayed = 0
        self.active = 0
        self.held = 0
        """Jobs that wait for others: in no line, and in no other count."""
        self.completed = 0
        self.completed_bytes = 0
        self.kept: deque[Kept] = deque()
        self.dead: dict[int, None] = {}
        """Dead letters, oldest first: sequence numbers."""
        self.dead_count = 0
        self.unique: dict[str, int] = {}
        """Unique keys that are taken, and the sequence numbers of the jobs that hold them."""
        self.debounced: dict[str, int] = {}
        """Debounce ids, and until when they are."""
        self.heard = False
        """Whether anybody listens to what happens here: telling.py."""
        self.paused = False
        self.rate: Bucket | None = None
        self.rate_due = 0
        """The moment (monotonic) a timer is set for, to serve who waits for a token; 0: none."""
        self.concurrency: int | None = None
        self.key_rate: int | None = None
        self.key_concurrency: int | None = None
        self.gate = False
        """Whether a pull has anything to check first: pause, limits of the queue."""
        self.lines: Lines | None = None
        """Lines of groups and keys, once a job has come that is bound by one."""
        self.pushed_total = 0
        self.completed_total = 0
        self.failed_total = 0
        self.used_at = 0
        self.watched: dict[int, dict[Any, None]] = {}
        """Clients that wait for the end of a job, by its id (waits.py)."""
        self.touched = False
        self.row = -1
        """Its place among the gauges in shared memory; -1: none yet."""

    # -- ready jobs

    def look_at_gate(self) -> None:
        """A pause or a limit began or ended."""
        self.gate = self.paused or self.rate is not None or self.concurrency is not None

    def has_ready(self) -> bool:
        """Whether any job could be given out now, but for pause and limits of the queue."""
        return self.top is not None or (self.lines is not None and self.lines.is_open())

    def lane_of(self, priority: int) -> Lane:
        lane = self.lanes.get(priority)
        if lane is None:
            lane = self.lanes[priority] = Lane(priority)
        return lane

    def raise_top(self, lane: Lane) -> None:
        """`lane` has ready jobs now. Every lane that has any is `top` or listed among the priorities."""
        top = self.top
        if top is None:
            self.top = lane
        elif lane is not top:
            if lane.priority > top.priority:
                self.top, lane = lane, top
            if lane.priority not in self.listed:
                self.listed.add(lane.priority)
                heappush(self.priorities, -lane.priority)

    def lower_top(self) -> None:
        """The first lane may have become empty: find the next that has ready jobs."""
        top = self.top
        if top is None or len(top):
            return
        self._empty(top)
        while self.priorities:
            priority = -heappop(self.priorities)
            self.listed.discard(priority)
            lane = self.lanes.get(priority)
            if lane is not None:
                if len(lane):
                    self.top = lane
                    return
                self._empty(lane)
        self.top = None

    def _empty(self, lane: Lane) -> None:
        """Nothing alive is in it: whatever it holds is dead."""
        if lane.priority:
            self.lanes.pop(lane.priority, None)
        elif lane.dead or lane.head:
            lane.clear()

    def _unlist(self) -> None:
        """Priorities whose lanes were left from the middle, again and again, are not listed for ever."""
        if len(self.priorities) > 64 and len(self.priorities) > 2 * len(self.lanes):
            self.listed = {p for p in self.listed if p in self.lanes}
            self.priorities = [-p for p in self.listed]
            heapify(self.priorities)

    def line_up(self, job: Job, *, came_back: bool = False) -> None:
        """A record is ready: into its lane, first of it if it is LIFO and did not come back."""
        job.state = State.WAITING
        job.era = self.era
        if job.bound:
            assert self.lines is not None
            self.waiting += 1
            self.lines.add(job, came_back=came_back)
            return
        lane = self.lane_of(job.priority)
        if job.options.lifo and not came_back:
            lane.put_in_front(job.seq)
        else:
            lane.append(job.seq)
        self.waiting += 1
        self.raise_top(lane)

    def fall_in(self, job: Job) -> None:
        """A record that became ready at its `run_at`, now or before: into its lane, among those of its time."""
        job.state = State.WAITING
        job.era = self.era
        if job.bound:
            self.line_up(job, came_back=job.token > 0)
            return
        lane = self.lane_of(job.priority)
        if job.options.lifo and not job.token:
            lane.put_in_front(job.seq)
        else:
            lane.put_at(job.run_at, job.seq)
        self.waiting += 1
        self.raise_top(lane)

    def ready_at(self, seq: int) -> int:
        """When a waiting job became ready."""
        page = self.slot.pages.get(seq >> PAGE_BITS)
        if page is None:
            return 0
        i = seq & (PAGE - 1)
        job = page.jobs[i]
        return job.run_at if type(job) is Job else page.created_at(i)

    def step_out(self, job: Job) -> None:
        """A waiting or delayed record leaves the line from wherever it stands."""
        if job.state is State.WAITING:
            self.waiting -= 1
            if job.bound:
                assert self.lines is not None
                self.lines.remove(job)
                return
            lane = self.lanes[job.priority]
            lane.remove(job.seq)
            if lane is self.top:
                self.lower_top()
            elif not len(lane):
                self._empty(lane)
                self._unlist()
        else:
            self.delayed -= 1
            self.delayed_stale += 1
            if self.older:
                self._sort_out()
            elif self.delayed_stale > 64 and self.delayed_stale > self.delayed:
                self.older, self._seen = self.later, {}
                self.later = [heappop(self.older)]

    def drop_lines(self) -> list[list[Any]]:
        """Nothing waits here any more, ready or delayed. What was in the lines: large, and to be let go in pieces."""
        lanes = list(self.lanes.values())
        dropped: list[Any] = [self.later, self.older, lanes]
        for lane in lanes[:64]:
            dropped += [list(lane.front), lane.due]
        if self.lines is not None:
            dropped += self.lines.drop()
        self.lane = Lane(0)
        self.lanes = {0: self.lane}
        self.priorities, self.listed, self.top = [], set(), None
        self.later, self.older, self.next_due, self.delayed_stale = [], [], 0, 0
        self.waiting = self.delayed = 0
        return dropped

    # -- delayed jobs

    def delay(self, job: Job) -> None:
        """A record is to wait for `job.run_at`."""
        job.state = State.DELAYED
        job.era = self.era
        heappush(self.later, (job.run_at, -job.priority, job.seq))
        self.delayed += 1

    def is_delayed(self, entry: tuple[int, int, int]) -> Job | None:
        """The job that an entry of `later` stands for, unless it left or was moved since."""
        run_at, priority, seq = entry
        page, i = self.slot.find(seq)
        job = page.jobs[i] if page is not None else None
        fits = type(job) is Job and job.state is State.DELAYED and job.run_at == run_at and job.priority == -priority
        return job if fits else None

    def _sort_out(self) -> None:
        """Take a few of the older entries into the heap, unless they are stale. The last of a heap leave it a heap."""
        later, older, seen = self.later, self.older, self._seen
        for _ in range(min(LOOKED_AT, len(older))):
            entry = older.pop()
            no, bit = entry[2] >> PAGE_BITS, 1 << (entry[2] & (PAGE - 1))
            kept = seen.get(no, 0)
            # One that came back to the moment it had left stands here twice.
            if kept & bit or self.is_delayed(entry) is None:
                self.delayed_stale -= 1
                continue
            seen[no] = kept | bit
            heappush(later, entry)
        if older and not later:
            later.append(heappop(older))
        if not older:
            self._seen = {}

    def move_due(self, now_ms: int, most: int = MOVED_AT_ONCE) -> int:
        """Put what is due into its lane, up to `most`; how many were moved. Order: lanes.py."""
        later, older, moved = self.later, self.older, 0
        while later and later[0][0] <= now_ms and moved < most:
            entry = heappop(later)
            if older and (not later or older[0] < later[0]):
                heappush(later, heappop(older))
            job = self.is_delayed(entry)
            if job is None:
                self.delayed_stale -= 1
                continue
            self.delayed -= 1
            self.fall_in(job)
            moved += 1
        return moved
