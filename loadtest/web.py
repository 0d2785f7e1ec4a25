"""HTTP: pushes from keep-alive connections beside a bare ASGI function, and batches."""

import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from time import perf_counter_ns
from typing import Final

from loadtest.bench import FILL
from loadtest.dialects import payload
from loadtest.processes import family, one_core
from loadtest.sockets import Line, Requests, SilentServerError
from loadtest.station import Station
from loadtest.stats import percentiles
from loadtest.trials import Figures, Side, Site, queue_on
from loadtest.window import Ending, driver
from loadtest.workloads import Clock

CONNECTIONS: Final = 16
HTTP_RATE: Final = "flashq, 16 connections, k/s"
BARE_RATE: Final = "bare ASGI, 16 connections, k/s"
HTTP_P50: Final = "flashq, one connection, p50, us"
BARE_P50: Final = "bare ASGI, one connection, p50, us"
BATCH_PUSH: Final = "push of 1000, k jobs/s"
BATCH_TAKE: Final = "pull of 1000 + ack, k jobs/s"
REPLY_BYTES_MAX: Final = 2_000
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_IDS: Final = re.compile(rb'"id":(\d+)')


def post(path: str, body: bytes) -> bytes:
    """A request of HTTP/1.1 with a JSON body."""
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        len(body),
        body,
    )


def get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()


def ask(line: Line, request: bytes) -> bytes:
    """The body of the response. Raises SilentServerError, or ValueError if it is not a success."""
    line.send(request)
    data = _more(line)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(line)
    length = _LENGTH.search(data, 0, end)
    if not data.startswith(b"HTTP/1.1 200") or length is None:
        raise ValueError(f"refused: {data[:300]!r}")
    parts, missing = [data[end + 4 :]], int(length[1]) - (len(data) - end - 4)
    while missing > 0:
        parts.append(_more(line))
        missing -= len(parts[-1])
    return b"".join(parts)


def _more(line: Line) -> bytes:
    data = line.receive(1 << 20)
    if not data:
        raise SilentServerError("the server closed the connection")
    return data


def http_push(site: Site) -> Sequence[Side]:
    """One small POST at a time on each of 16 connections, then on one with all on one core."""
    cluster, bare = site.cluster(http=True), site.bare_http()
    many, few = site.size(10_000, 320), site.size(2_000, 50)
    station = Station(cluster.port, queue_on(cluster, 0, "posts"))
    door = _Door(cluster.http_port, f"/queues/{station.queue}/jobs")
    floor = _Door(bare.port, door.path)
    root = cluster.pids()["supervisor"]

    def ours() -> Figures:
        first, rate = door.push(CONNECTIONS, many)
        with one_core(family(root)):
            second, p50 = door.push_one_by_one(few)
        station.bag.pushed([int(text) for text in _IDS.findall(first + second)], many + few)
        station.drain()
        return {HTTP_RATE: rate, HTTP_P50: p50}

    def floors() -> Figures:
        _, rate = floor.push(CONNECTIONS, many)
        with one_core(bare.pids()):
            _, p50 = floor.push_one_by_one(few)
        return {BARE_RATE: rate, BARE_P50: p50}

    return ours, floors


class _Door:
    """A path that is posted to."""

    def __init__(self, port: int, path: str) -> None:
        self.path = path
        self._port = port
        self._pushed = 0

    def _requests(self, count: int) -> Requests:
        first, self._pushed = self._pushed, self._pushed + count
        return Requests.of([post(self.path, b'{"data":%b}' % payload(first + number)) for number in range(count)])

    def push(self, connections: int, count: int) -> tuple[bytes, float]:
        """All responses, and thousands of requests a second."""
        requests = self._requests(count)
        with ExitStack() as lines:
            opened = [lines.enter_context(closing(Line(self._port))) for _ in range(connections)]
            # What a response looks like: a brace is its last byte, and it has always as many of them.
            first = ask(opened[0], requests.one(0))
            rest = Requests(requests.blob[requests.size :], requests.size)
            replies = driver()(opened, 1, rest, Ending(b"}", first.count(b"}"), REPLY_BYTES_MAX))
        return first + replies.received, rest.count / replies.elapsed_ns * 1e6

    def push_one_by_one(self, count: int) -> tuple[bytes, float]:
        """All responses, and the median latency in microseconds."""
        requests = self._requests(count)
        with Line(self._port) as line:
            first = ask(line, requests.one(0))
            rest = Requests(requests.blob[requests.size :], requests.size)
            replies = driver()([line], 1, rest, Ending(b"}", first.count(b"}"), REPLY_BYTES_MAX))
        return first + replies.received, percentiles(replies.latencies_ns).p50


def http_batch(site: Site) -> Sequence[Side]:
    """Pushes of 1000, then pulls of 1000 and acks of them, on one connection."""
    cluster, count = site.cluster(http=True), site.size(100_000, 2_000)
    station = Station(cluster.port, queue_on(cluster, 0, "batches"))
    path = f"/queues/{station.queue}/jobs"

    def run() -> Figures:
        with Line(cluster.http_port) as line:
            pushed = _push_batches(line, station, f"{path}/batch", count)
            taken = _take_batches(line, station, f"{path}?count={FILL}", count)
        station.drain()
        return {BATCH_PUSH: pushed, BATCH_TAKE: taken}

    return (run,)


def _push_batches(line: Line, station: Station, path: str, count: int) -> float:
    jobs = b",".join(b'{"data":%b}' % payload(number) for number in range(FILL))
    request, clock = post(path, b'{"jobs":[%b]}' % jobs), Clock()
    with clock.running():
        replies = [ask(line, request) for _ in range(count // FILL)]
    ids = [int(text) for reply in replies for text in _ids_of(reply)]
    station.bag.pushed(ids, count)
    return count / clock.elapsed_s / 1e3


def _ids_of(reply: bytes) -> list[bytes]:
    """The ids of a reply to a batch: the only array of numbers in it. Raises ValueError if there is none."""
    found = re.search(rb"\[([\d,\s]+)\]", reply)
    if found is None:
        raise ValueError(f"refused: {reply[:300]!r}")
    return found[1].split(b",")


def _take_batches(line: Line, station: Station, path: str, count: int) -> float:
    pull, replies, took = get(path), [], 0
    for _ in range(count // FILL):
        since = perf_counter_ns()
        reply = ask(line, pull)
        took += perf_counter_ns() - since
        ids = [int(text) for text in _IDS.findall(reply)]
        station.bag.took(ids)
        acks = post("/jobs/ack-batch", b'{"ids":[%b]}' % b",".join(b"%d" % job_id for job_id in ids))
        since = perf_counter_ns()
        replies.append(ask(line, acks))
        took += perf_counter_ns() - since
    finished = sum(int(text) for reply in replies for text in re.findall(rb'"data":(\d+)', reply))
    if finished != count:
        raise ValueError(f"{finished} of {count} jobs were finished: {replies[0][:200]!r}")
    return count / took * 1e6
