"""A hundred thousand delayed jobs that are due in one millisecond, while somebody pushes to another queue."""

import threading
import time
from collections.abc import Sequence
from typing import Final

from loadtest.bench import FILL
from loadtest.dialects import payload
from loadtest.sockets import Line
from loadtest.station import DIALECT, Station
from loadtest.stats import percentiles
from loadtest.trials import Figures, Side, Site, queue_on

DELIVERED: Final = "last one delivered, ms after it was due"
OTHERS: Final = "PUSH to another queue meanwhile, p99, ms"
HOLE: Final = b"@@@@"
"""Where a delay is filled in."""
PUSHES: Final = 30_000
"""More than anyone can push one by one while the jobs are delivered."""


def due(site: Site) -> Sequence[Side]:
    """Pushes take some milliseconds, so each batch's delay is what is left until the one moment."""
    cluster, count, lead_ms = site.cluster(), site.size(100_000, 2_000), site.size(5_000, 1_500)
    station = Station(cluster.port, queue_on(cluster, 0, "due"), lambda _: b'"delay":%b,' % HOLE)
    other = Station(cluster.port, queue_on(cluster, 0, "others"))

    def run() -> Figures:
        requests = station.batches(count)
        due_ms = _now_ms() + lead_ms
        _push(station, requests, count, due_ms)
        pusher = _Pusher(other, due_ms)
        replies = _taken(station, count)
        delivered_ms = time.time() * 1e3 - due_ms
        latencies = pusher.stop()
        _finish(station, replies, count)
        other.drain()
        return {DELIVERED: delivered_ms, OTHERS: percentiles(latencies).p99 / 1e3}

    return (run,)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _push(station: Station, requests: Sequence[bytes], count: int, due_ms: int) -> None:
    """Raises RuntimeError if the moment comes first."""
    replies = []
    with station.line() as line:
        for request in requests:
            left = due_ms - _now_ms()
            if left <= 0:
                raise RuntimeError("the delayed jobs could not be pushed before they were due")
            replies.append(line.ask(request.replace(HOLE, b"%4d" % left)))
    station.bag.pushed(DIALECT.pushed(b"".join(replies)), count)


def _taken(station: Station, count: int) -> bytes:
    """Wait for the jobs, a thousand at a time; all replies."""
    pull = b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":20000}\n' % (station.queue.encode(), FILL)
    replies: list[bytes] = []
    came = 0
    with station.line() as line:
        while came < count:
            reply = line.ask(pull)
            came += reply.count(b'"lease":')
            replies.append(reply)
    return b"".join(replies)


def _finish(station: Station, replies: bytes, count: int) -> None:
    ids = DIALECT.pulled(replies)
    station.bag.took(ids)
    with station.line() as line:
        for at in range(0, count, FILL):
            group = ids[at : at + FILL]
            DIALECT.acked(line.ask(DIALECT.ack_batch(group)), len(group))
    station.drain()


class _Pusher:
    """Pushes one at a time on another thread from the moment on, which spends its time in calls of the kernel."""

    def __init__(self, station: Station, due_ms: int) -> None:
        self._station = station
        self._due_ms = due_ms
        self._end = threading.Event()
        self._took: list[int] = []
        self._replies: list[bytes] = []
        self._fault: BaseException | None = None
        self._line = station.line()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._push_on(self._line)
        except BaseException as error:  # handed on to who waits for it
            self._fault = error

    def _push_on(self, line: Line) -> None:
        request = b'{"cmd":"PUSH","queue":"%b","data":%b}\n' % (self._station.queue.encode(), payload(0))
        self._end.wait((self._due_ms - _now_ms()) / 1e3)
        while len(self._took) < PUSHES:
            since = time.perf_counter_ns()
            self._replies.append(line.ask(request))
            self._took.append(time.perf_counter_ns() - since)
            if self._end.is_set():
                return

    def stop(self) -> list[int]:
        """Latencies in nanoseconds, of one push at least. Raises what went wrong."""
        self._end.set()
        self._thread.join()
        self._line.close()
        if self._fault is not None:
            raise self._fault
        self._station.bag.pushed(DIALECT.pushed(b"".join(self._replies)), len(self._replies))
        return self._took
