"""A bench: one queue of one server, on which workloads run and every job is booked."""

from dataclasses import dataclass, field
from typing import Final

from loadtest.dialects import Dialect
from loadtest.ledger import Ledger, WrongJobsError
from loadtest.sockets import Line, Requests

FILL: Final = 1000


@dataclass
class Bench:
    """One queue. Preparing and booking go through here, outside of the clock."""

    port: int
    dialect: Dialect
    queue: str
    ledger: Ledger = field(default_factory=Ledger)
    pushes: int = 0
    """Payloads used up, so that each push has another."""
    home: "Bench | None" = None
    """A queue of another shard, whose connection is used for this one's pushes (workload "forwarded")."""

    def line(self) -> Line:
        """A connection that uses the queue."""
        return Line(self.port, *self.dialect.greeting(self.queue))

    def requests(self, count: int) -> Requests:
        """Pushes, each of another payload."""
        first = self._numbers(count)
        return Requests.of([self.dialect.push(self.queue, number) for number in range(first, first + count)])

    def batches(self, count: int) -> list[bytes]:
        """Batch pushes of a thousand."""
        first = self._numbers(count * FILL)
        return [self.dialect.push_batch(self.queue, first + at * FILL, FILL) for at in range(count)]

    def _numbers(self, count: int) -> int:
        first = self.pushes
        self.pushes += count
        return first

    def booked(self, replies: bytes, count: int) -> None:
        """Book pushes by what was answered."""
        self.ledger.pushed(self.dialect.pushed(replies), count)

    def fill(self, count: int) -> None:
        """Push at least so many jobs, in batches."""
        with self.line() as line:
            for _ in range(-(-count // FILL)):
                [batch] = self.batches(1)
                self.booked(line.ask(batch, self.dialect.lines_a_push_batch), FILL)

    def drain(self) -> None:
        """Take and finish all that waits. Raises WrongJobsError unless each job comes once, in its turn."""
        with self.line() as line:
            self._drain_to(0, line)
            self.ledger.empty()
            extra = self._take(line, 0)
        if extra:
            raise WrongJobsError(f"{len(extra)} jobs came that nobody pushed, the first is {extra[0]}")

    def level(self, depth: int) -> None:
        """Fill or drain the queue so that it is `depth` deep, or a batch less."""
        self.fill(max(depth - len(self.ledger), 0))
        with self.line() as line:
            self._drain_to(depth, line)

    def _drain_to(self, depth: int, line: Line) -> None:
        while len(self.ledger) > depth:
            ids = self._take(line, min(self.dialect.batch, len(self.ledger)))
            if not ids:
                return
            self.ledger.took(ids)
            answer = line.ask(self.dialect.ack_batch(ids), self.dialect.lines_an_ack_batch(len(ids)))
            self.dialect.acked(answer, len(ids))

    def _take(self, line: Line, due: int) -> list[int]:
        """Pull a batch; `due` jobs should come."""
        lines = self.dialect.lines_a_pull_batch(due)
        return self.dialect.pulled(line.ask(self.dialect.pull_batch(self.queue), lines))
