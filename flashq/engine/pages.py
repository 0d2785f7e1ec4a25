"""Where jobs are kept: pages of 1024 sequence numbers, found by arithmetic, without a dictionary entry a job.

A page belongs to one queue, one codec and one set of defaults, so that of a *plain* job (all options
default) nothing has to be kept but the bytes of its payload: queue, codec and defaults are its page's, its
time of creation is the page's mark before it. Anything else is a `Job` record in the same place.

    page.jobs[i]     None: nothing here any more · bytes: a plain job's payload · Job: a record
    page.leases[i]   None: not active · Lease: active · Done: completed and still kept

Of a page that is far from its queue's ends, `jobs` is one block (packed.py).

Pages of a slot are numbered from 0 and handed to its queues as they need them. Numbers are reserved ahead, in
blocks that are synced before an id of them is told to anyone; so no id is ever given twice, whatever was lost.
"""

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from flashq.engine.packed import pack
from flashq.protocol.slots import SLOTS

if TYPE_CHECKING:
    from flashq.engine.queues import Queue
    from flashq.engine.settings import Defaults

PAGE: Final = 1024
PAGE_BITS: Final = 10
SETTLED_BEHIND: Final = 2 * PAGE
"""Where so many jobs wait, a page that is full now is kept small until it is pulled from."""
RESERVED_PAGES: Final = 256
"""Pages reserved by one synced event: 262,144 ids."""


class Page:
    """1024 jobs of one queue, in one codec, under one set of defaults."""

    __slots__ = (
        "at",
        "base",
        "codec",
        "defaults",
        "jobs",
        "last_ms",
        "leases",
        "live",
        "ms",
        "queue",
        "records",
        "reserved",
        "slot",
    )

    def __init__(self, slot: "Slot", no: int, queue: "Queue", codec: int, defaults: "Defaults") -> None:
        self.slot = slot
        self.base = no << PAGE_BITS
        self.queue = queue
        self.codec = codec
        self.defaults = defaults
        # Sequence 0 of slot 0 would be id 0, which means "none" to some clients.
        self.jobs: Any = [None] if no == 0 else []
        self.leases: list[Any] | None = None
        self.live = 0
        """Places that are not empty."""
        self.records = 0
        """How many `Job` records were ever put here; 0: all are plain."""
        self.reserved = False
        """Jobs will come into its empty places (bundles.py)."""
        self.at = array("H")
        self.ms = array("q")
        self.last_ms = -1
        queue.pages[no] = self

    def created_at(self, i: int) -> int:
        """When the job in place `i` was pushed."""
        return self.ms[bisect_right(self.at, i) - 1]

    def mark(self, now_ms: int) -> None:
        """The jobs appended from here on were created at `now_ms`."""
        self.at.append(len(self.jobs))
        self.ms.append(now_ms)
        self.last_ms = now_ms

    def created_runs(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """(start, stop, created_at) for each stretch of places with one time of creation."""
        at, ms = self.at, self.ms
        k = bisect_right(at, start) - 1
        if k == len(at) - 1 or at[k + 1] >= stop:
            return [(start, stop, ms[k])]
        runs = []
        while start < stop:
            end = at[k + 1] if k + 1 < len(at) else stop
            end = min(end, stop)
            runs.append((start, end, ms[k]))
            start = end
            k += 1
        return runs

    def marks(self) -> list[Any]:
        """The places' leases, made when the first is needed."""
        leases = self.leases
        if leases is None:
            leases = self.leases = [None] * PAGE
        return leases

    def settle(self) -> None:
        """The page is full and will not be pulled from for a while: keep it small, if all of it is plain and waits."""
        jobs = self.jobs
        if type(jobs) is list and len(jobs) == PAGE and self.live and not self.records and self.leases is None:
            self.jobs = pack(self, jobs) or jobs

    def fill(self, start: int, payloads: list[bytes]) -> None:
        """Plain jobs come into places that were reserved for them."""
        self.jobs[start : start + len(payloads)] = payloads
        self.live += len(payloads)

    def clear(self, start: int, stop: int) -> None:
        """Jobs ended and are not kept: their places are empty. Drops the page when nothing is left in it."""
        n = stop - start
        nothing = [None] * n
        self.jobs[start:stop] = nothing
        if self.leases is not None:
            self.leases[start:stop] = nothing
        self.live -= n
        if not self.live:
            self.drop_if_done()

    def clear_one(self, i: int) -> None:
        """As `clear`, for one place."""
        self.jobs[i] = None
        if self.leases is not None:
            self.leases[i] = None
        self.live -= 1
        if not self.live:
            self.drop_if_done()

    def drop_if_done(self) -> None:
        """Forget the page if nothing lives in it and nothing will be added."""
        closed = len(self.jobs) == PAGE or self.queue.open_pages[self.codec] is not self
        if not self.live and closed and not self.reserved:
            no = self.base >> PAGE_BITS
            self.slot.pages.pop(no, None)
            self.queue.pages.pop(no, None)


class Slot:
    """A 1024th of the cluster: the jobs of all queues whose names hash to it."""

    __slots__ = ("bad", "gone", "next_page", "no", "pages", "reserved_page")

    def __init__(self, no: int) -> None:
        self.no = no
        self.pages: dict[int, Page] = {}
        self.next_page = 0
        self.reserved_page = 0
        self.bad = Runs()
        """Ids that ended badly: purged, cancelled, removed, expired."""
        self.gone = Runs()
        """Ids of completed jobs that asked to be forgotten (`remove_on_complete`)."""

    def find(self, seq: int) -> tuple[Page | None, int]:
        """The page of a sequence number, if anything of it is left, and the place in it."""
        page = self.pages.get(seq >> PAGE_BITS)
        i = seq & (PAGE - 1)
        if page is None or i >= len(page.jobs):
            return None, i
        return page, i

    def was_given(self, seq: int) -> bool:
        """Whether this sequence number was ever a job's."""
        no = seq >> PAGE_BITS
        page = self.pages.get(no)
        if page is not None:
            return (seq & (PAGE - 1)) < len(page.jobs) and seq > 0
        return seq > 0 and no < self.next_page

    def id_of(self, seq: int) -> int:
        return seq * SLOTS + self.no


class Runs:
    """A set of sequence numbers kept as sorted, disjoint runs; the oldest go first when it grows too large."""

    __slots__ = ("_starts", "_stops")

    RUNS_MAX: Final = 16_384

    def __init__(self) -> None:
        self._starts = array("q")
        self._stops = array("q")

    def add(self, start: int, stop: int) -> None:
        """Add [start, stop). Amortised constant where numbers come in rising order."""
        starts, stops = self._starts, self._stops
        if not starts or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
        else:
            lo = bisect_right(stops, start - 1)
            hi = bisect_right(starts, stop)
            if lo < hi:
                start = min(start, starts[lo])
                stop = max(stop, stops[hi - 1])
            starts[lo:hi] = array("q", (start,))
            stops[lo:hi] = array("q", (stop,))
        if len(starts) > self.RUNS_MAX:
            del starts[: self.RUNS_MAX // 8]
            del stops[: self.RUNS_MAX // 8]

    def __contains__(self, seq: int) -> bool:
        k = bisect_right(self._starts, seq) - 1
        return k >= 0 and seq < self._stops[k]

    def runs(self) -> list[tuple[int, int]]:
        return list(zip(self._starts, self._stops, strict=True))
