"""Lines within a queue for jobs that are bound: by a group, or by a key that limits are kept for.

Rules kept here
- Of a group at most one job is active. Its other jobs stand in the group's line, whose head is a candidate exactly
  while nothing of the group is active; nobody skips over them one by one.
- Jobs with a `limit_key` stand in their key's line. Keys take turns, so that one key's flood does not starve the
  others; jobs without a key take turns with them like one more key. A key whose limit is reached steps aside.
- A job with both stands in its group's line, which steps aside with the key of its head.
- Priority comes before turns; within a line the order is that of a lane: priority, then the moment of becoming
  ready, then push order; LIFO first.

A line is a heap, and so are the lines that may be served (`_by_moment`: heads without a key; `_by_turn`: with one).
Entries that do not count any more are skipped when they surface.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flashq.engine.jobs import Job, State
from flashq.engine.rate_limits import Bucket

if TYPE_CHECKING:
    from flashq.engine.engine import Engine
    from flashq.engine.queues import Queue

_SWEEP_AT: Final = 1_024

_Entry = tuple[int, int, int, Job]
"""(-priority, moment, number, job)"""


class Line:
    """The jobs of one group, or of one key, that are ready."""

    __slots__ = ("dead", "entries", "group", "listed", "name", "turn")

    def __init__(self, name: tuple[str, str], group: str | None, turn: int) -> None:
        self.name = name
        self.group = group
        self.entries: list[_Entry] = []
        self.dead = 0
        self.listed = 0
        """The number under which it stands among the candidates; 0: it does not."""
        self.turn = turn

    def head(self) -> _Entry | None:
        """The first entry that counts."""
        entries = self.entries
        while entries:
            entry = entries[0]
            if entry[3].place == entry[2]:
                return entry
            heappop(entries)
            self.dead -= 1
        return None

    def lose(self) -> None:
        """One of its entries does not count any more."""
        self.dead += 1
        if self.dead > 64 and self.dead * 2 > len(self.entries):
            self.entries = [e for e in self.entries if e[3].place == e[2]]
            heapify(self.entries)
            self.dead = 0


class Key:
    """What is counted of one `limit_key`."""

    __slots__ = ("active", "aside", "bucket", "due_at")

    def __init__(self) -> None:
        self.active = 0
        self.bucket: Bucket | None = None
        self.aside: dict[Line, None] = {}
        """Lines whose heads wait for this key's limit."""
        self.due_at = 0
        """The moment (monotonic) a timer is set for; 0: none."""


class Candidate(NamedTuple):
    """The head of a line that may be served now. Compares with others, and with a lane's head, by its first fields."""

    order: int
    """-priority"""
    moment: int
    """When it became ready; of keyed ones: the line's turn."""
    seq: int
    """The job's, which tells apart what became ready in one millisecond."""
    line: Line


class Lines:
    """All lines of one queue."""

    __slots__ = (
        "_by_moment",
        "_by_turn",
        "_engine",
        "_mixed",
        "_number",
        "_queue",
        "_turn",
        "busy",
        "keys",
        "lane_turn",
        "lines",
    )

    def __init__(self, engine: "Engine", queue: "Queue") -> None:
        self._engine = engine
        self._queue = queue
        self.lines: dict[tuple[str, str], Line] = {}
        self._by_moment: list[tuple[int, int, int, Line]] = []
        self._by_turn: list[tuple[int, int, int, Line]] = []
        self._number = 0
        self._turn = 0
        self.lane_turn = 0
        self._mixed = False
        """Whether a job came that has both a group and a key, so that two lines may be served under one key."""
        self.busy: set[str] = set()
        """Groups that have an active job."""
        self.keys: dict[str, Key] = {}

    # -- jobs come and go

    def add(self, job: Job, *, came_back: bool = False) -> None:
        """A bound job is ready."""
        options = job.options
        group, key = options.group_id, options.limit_key
        if group and key:
            self._mixed = True
        name = ("group", group) if group else ("key", key or "")
        line = self.lines.get(name)
        if line is None:
            self._turn += 1
            line = self.lines[name] = Line(name, group, self._turn)
        self._number = number = self._number + 1
        job.place = number
        front = options.lifo and not came_back
        heappush(line.entries, (-job.priority, -number if front else job.run_at, number, job))
        if line.entries[0][2] == number:
            self._list(line)

    def remove(self, job: Job) -> None:
        """A job that is ready leaves, from wherever it stands."""
        options = job.options
        line = self.lines[("group", options.group_id) if options.group_id else ("key", options.limit_key or "")]
        was_head = line.entries[0][2] == job.place
        job.place = 0
        line.lose()
        if was_head:
            self._list(line)

    def drop(self) -> list[list[_Entry]]:
        """No job stands in them any more; what is active still counts. What they held, to be let go in pieces."""
        dropped = [line.entries for line in self.lines.values()]
        self.lines, self._by_moment, self._by_turn = {}, [], []
        for key in self.keys.values():
            key.aside = {}
        return dropped

    def jobs(self) -> Iterator[Job]:
        """All jobs that stand in them, in no order."""
        for line in self.lines.values():
            yield from (job for _, _, number, job in line.entries if job.place == number)

    def lent(self, job: Job) -> None:
        """A bound job is active now."""
        if job.options.group_id:
            self.busy.add(job.options.group_id)
            line = self.lines.get(("group", job.options.group_id))
            if line is not None:
                line.listed = 0
        if job.options.limit_key:
            key = self.key(job.options.limit_key)
            key.active += 1
            if key.bucket is not None:
                key.bucket.take(self._engine.mono_ms, 1)

    def freed(self, job: Job) -> None:
        """A bound job is not active any more."""
        group, name = job.options.group_id, job.options.limit_key
        if group:
            self.busy.discard(group)
            line = self.lines.get(("group", group))
            if line is not None:
                self._list(line)
        if name:
            key = self.keys[name]
            key.active -= 1
            if key.aside:
                self._let_in(key, name)

    # -- keys

    def key(self, name: str) -> Key:
        key = self.keys.get(name)
        if key is None:
            if len(self.keys) % _SWEEP_AT == _SWEEP_AT - 1:
                self._sweep()
            key = self.keys[name] = Key()
            rate = self._queue.key_rate
            if rate is not None:
                key.bucket = Bucket(rate, self._engine.mono_ms)
        return key

    def _sweep(self) -> None:
        """Forget keys of which nothing is left to know."""
        now = self._engine.mono_ms
        self.keys = {
            name: key
            for name, key in self.keys.items()
            if key.active or key.aside or (key.bucket is not None and not key.bucket.is_full(now))
        }

    def _allows(self, key: Key) -> bool:
        most = self._queue.key_concurrency
        if most is not None and key.active >= most:
            return False
        return key.bucket is None or key.bucket.tokens(self._engine.mono_ms) > 0

    def _step_aside(self, key: Key, name: str, line: Line) -> None:
        key.aside[line] = None
        self._arm(key, name)

    def _arm(self, key: Key, name: str) -> None:
        """If it is for a token that the key waits, see to it that it is looked at when the token is there."""
        most = self._queue.key_concurrency
        if key.bucket is not None and (most is None or key.active < most):
            at = key.bucket.next_at()
            if at is not None and (not key.due_at or at < key.due_at):
                key.due_at = at
                self._engine.mono_timers.add(at, _key_due, (self._queue, name))

    def _let_in(self, key: Key, name: str) -> None:
        if self._allows(key):
            lines, key.aside = list(key.aside), {}
            for line in lines:
                self._list(line)
        else:
            self._arm(key, name)

    def key_due(self, name: str) -> None:
        """A token of this key is there."""
        key = self.keys.get(name)
        if key is not None:
            if key.due_at <= self._engine.mono_ms:
                key.due_at = 0
            lines, key.aside = list(key.aside), {}
            for line in lines:
                self._list(line)

    def refill(self) -> None:
        """The rate for each key was set: their buckets are full."""
        rate, now = self._queue.key_rate, self._engine.mono_ms
        for key in self.keys.values():
            key.bucket = Bucket(rate, now) if rate is not None else None

    def limits_changed(self) -> None:
        """The limits for each key are others: who stepped aside is looked at again."""
        for key in self.keys.values():
            key.aside = {}
        for line in list(self.lines.values()):
            self._list(line)

    def replayed(self) -> None:
        """All events are applied: who was listed while a job of its key was on its way out steps aside.

        A pull lends a job before its line is listed again; in replay it leaves its line first, by its id.
        """
        for line in list(self.lines.values()):
            if line.listed:
                head = line.head()
                name = head[3].options.limit_key if head is not None else None
                if name and not self._allows(self.key(name)):
                    self._list(line)

    def shift(self, by_ms: int) -> None:
        """The monotonic clock was set anew."""
        for key in self.keys.values():
            key.due_at += by_ms if key.due_at else 0
            if key.bucket is not None:
                key.bucket.at += by_ms

    # -- whose turn it is

    def _list(self, line: Line) -> None:
        """Put the line among the candidates, or aside, as its head asks for; drop it if it is empty."""
        line.listed = 0
        head = line.head()
        if head is None:
            # One that stepped aside may have been dropped, and another of its name be there.
            if self.lines.get(line.name) is line:
                del self.lines[line.name]
            return
        if line.group is not None and line.group in self.busy:
            return
        name = head[3].options.limit_key
        if name:
            key = self.key(name)
            if not self._allows(key):
                self._step_aside(key, name, line)
                return
        self._number = line.listed = self._number + 1
        if name:
            heappush(self._by_turn, (head[0], line.turn, line.listed, line))
        else:
            heappush(self._by_moment, (head[0], head[1], line.listed, line))

    def best(self) -> tuple[Candidate | None, Candidate | None]:
        """The first candidate without a key, by moment, and the first with one, by turn."""
        return self._first(self._by_moment), self._first(self._by_turn)

    def _first(self, heap: list[tuple[int, int, int, Line]]) -> Candidate | None:
        while heap:
            order, moment, number, line = heap[0]
            if line.listed == number:
                head = line.head()
                name = head[3].options.limit_key if head is not None else None
                if not name or self._allows(self.key(name)):
                    return Candidate(order, moment, head[3].seq if head is not None else 0, line)
                # Another line of the same key was served since it was listed.
                heappop(heap)
                self._list(line)
                continue
            heappop(heap)
        return None

    def only_keys(self) -> bool:
        """Whether no line but those of keys can be served."""
        return not self._by_moment

    def next_key(self) -> Line | None:
        """The line of a key whose turn it is. As `best`, spelled out for queues with nothing else."""
        heap = self._by_turn
        while heap:
            entry = heap[0]
            line = entry[3]
            if line.listed == entry[2]:
                if not self._mixed:
                    return line  # nobody else is served under its key
                return candidate.line if (candidate := self._first(heap)) is not None else None
            heappop(heap)
        return None

    def is_open(self) -> bool:
        """Whether any line has a job to give now."""
        return self._first(self._by_moment) is not None or self._first(self._by_turn) is not None

    def take(self, line: Line) -> Job:
        """The head of a candidate leaves, to be lent; its line goes to the end of the turns."""
        job = heappop(line.entries)[3]
        job.place = 0
        self._turn += 1
        line.turn = self._turn
        return job

    def after(self, line: Line) -> None:
        """What was taken is lent, or was put back: the line stands where it belongs."""
        self._list(line)

    def lane_served(self) -> None:
        """A job of the lanes was taken: they go to the end of the turns."""
        self._turn += 1
        self.lane_turn = self._turn


def _key_due(engine: "Engine", argument: tuple[Any, str]) -> None:
    queue, name = argument
    lines = queue.lines
    if lines is not None:
        lines.key_due(name)
        engine.free(queue)


def waiting_in(lines: Lines) -> int:
    """How many jobs stand in them. Linear: for tests."""
    return sum(
        1
        for line in lines.lines.values()
        for entry in line.entries
        if entry[3].place == entry[2] and entry[3].state is State.WAITING
    )
