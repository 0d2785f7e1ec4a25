"""A station: one queue of a cluster, filled with jobs that have options, and drained whatever their order."""

from collections.abc import Callable, Sequence
from typing import Final

from loadtest.bench import FILL
from loadtest.dialects import Flashq, payload
from loadtest.ledger import Bag, WrongJobsError
from loadtest.sockets import Line, Requests
from loadtest.window import driver
from loadtest.workloads import Clock, one_by_one

DIALECT: Final = Flashq()
DEPTH: Final = 64
"""Requests in flight on one connection."""
Options = Callable[[int], bytes]
"""The members of a job's entry before its data, by the job's number; each with a comma behind it."""


def plain(_number: int) -> bytes:
    """No options."""
    return b""


class Station:
    """One queue. Jobs are numbered over all pushes, so that no name or key comes twice."""

    def __init__(self, port: int, queue: str, options: Options = plain) -> None:
        self.port = port
        self.queue = queue
        self.options = options
        self.bag = Bag()
        self._pushed = 0

    def line(self) -> Line:
        return Line(self.port)

    def batches(self, count: int) -> list[bytes]:
        """PUSHB of a thousand each (or of the few there are)."""
        first, self._pushed = self._pushed, self._pushed + count
        last = self._pushed
        return [self._batch(at, min(at + FILL, last)) for at in range(first, last, FILL)]

    def _batch(self, first: int, last: int) -> bytes:
        options = self.options
        jobs = b",".join(b'{%b"data":%b}' % (options(number), payload(number)) for number in range(first, last))
        return b'{"cmd":"PUSHB","queue":"%b","jobs":[%b]}\n' % (self.queue.encode(), jobs)

    def push(self, count: int) -> tuple[float, list[int]]:
        """Push so many, a batch at a time: thousands of jobs a second, and their ids in order."""
        requests, clock = self.batches(count), Clock()
        with self.line() as line, clock.running():
            replies, _ = one_by_one(line, requests)
        ids = DIALECT.pushed(b"".join(replies))
        self.bag.pushed(ids, count)
        return count / clock.elapsed_s / 1e3, ids

    def pull_and_ack(self, due: Sequence[int]) -> float:
        """PULLB of a thousand and ACKB of them, for jobs that come in this order: thousands a second."""
        groups = [due[at : at + FILL] for at in range(0, len(due), FILL)]
        acks, pull, clock = [DIALECT.ack_batch(group) for group in groups], DIALECT.pull_batch(self.queue), Clock()
        pulled, acked = [], []
        with self.line() as line, clock.running():
            for ack in acks:
                pulled.append(line.ask(pull))
                acked.append(line.ask(ack))
        came = DIALECT.pulled(b"".join(pulled))
        self.bag.took(came)
        if came != list(due):
            raise WrongJobsError(f"{self.queue}: jobs came out of turn")
        DIALECT.acked(b"".join(acked), len(due))
        return len(due) / clock.elapsed_s / 1e3

    def drain(self, mark: bytes = b"") -> int:
        """Take and finish all that waits, each job once; how often `mark` is in them. Raises WrongJobsError."""
        marks = 0
        pull = DIALECT.pull_batch(self.queue)
        with self.line() as line:
            while ids := DIALECT.pulled(reply := line.ask(pull)):
                marks += reply.count(mark) if mark else 0
                self.bag.took(ids)
                DIALECT.acked(line.ask(DIALECT.ack_batch(ids)), len(ids))
        self.bag.empty()
        return marks

    def each(self, command: bytes, ids: Sequence[int], member: bytes = b"") -> float:
        """A command for each of these jobs, 64 in flight; seconds. Raises ValueError if one is refused.

        `member`: what is said beside the id, with a comma before it.
        """
        frames = [b'{"cmd":"%b","id":%d%b}' % (command, job_id, member) for job_id in ids]
        size = max(map(len, frames))
        requests = Requests.of([frame.ljust(size) + b"\n" for frame in frames])
        with self.line() as line:
            replies = driver()([line], DEPTH, requests)
        DIALECT.check_ok(replies.received)
        return replies.elapsed_ns / 1e9
