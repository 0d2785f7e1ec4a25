"""The journal of one shard in PostgreSQL: a row of `flashq.journal` for each record.

One statement is under way at a time, a transaction of its own; what is appended meanwhile goes together with the next.
`append` never waits: `durable_seq` follows, and `on_durable` tells.

Rules kept here
- What is not known to be committed is kept until it is. After a lost connection the new one first asks how far the
  journal is: that settles what became of the statement under way, which is never sent twice if it was carried out.
- A database that lacks a record which was acknowledged is another one, or one that has lost it: the owner ends.
- Zero rows inserted: a successor has raised the epoch. The owner ends.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from select import select
from typing import Final

import structlog

from flashq.errors import Fenced, JournalCorrupt, StorageError
from flashq.storage.contract import Record, Recovery
from flashq.storage.postgres import ownership
from flashq.storage.postgres.acknowledged import Acknowledged
from flashq.storage.postgres.lines import Line, LineBroken, Row
from flashq.storage.postgres.opening import open_line
from flashq.storage.postgres.reading import read_records
from flashq.storage.postgres.server import Server

STATEMENT_BYTES: Final = 8 << 20
"""Records that go together, about."""
ROOM_BYTES: Final = 64 << 20
"""What may wait for the database until pushes are refused."""
RETRY_S: Final = (0.05, 5.0)
ANSWER_S: Final = 30.0
"""How long a stop waits for what is not written yet."""

log = structlog.get_logger()


class DatabaseJournal:
    """A `Journal`. With a loop it never blocks once it is open; without one, `append` returns when it is committed."""

    def __init__(
        self, server: Server, shard: int, epoch: int, claim: ownership.Claim, line: Line, mark: Acknowledged, *,
        replay_from: int, loop: asyncio.AbstractEventLoop | None,
    ) -> None:  # fmt: skip
        self.on_durable: Callable[[int], None] | None = None
        self.on_fault: Callable[[StorageError], None] | None = None
        self.first_kept = claim.gone_through + 1
        self.kept_bytes = claim.bytes
        """Of events that are in the database and may be folded."""
        self.backlog_bytes = 0
        """Of events that are not known to be committed."""
        self._server = server
        self._shard = shard
        self._epoch = epoch
        self._claim = claim
        self._line: Line | None = line
        self._mark = mark
        self._loop = loop
        self._replay_from = replay_from
        self._seq = max(claim.last_seq, replay_from)
        self.durable_seq = self.synced_seq = self._seq
        self._recovery = Recovery(self._seq, claim.sealed or not self._seq, 0, 0, "")
        self._appended = False
        self._queue: deque[Row] = deque()
        self._flight: list[Row] = []
        self._writing = False
        """There is more of the statement under way than the socket would take."""
        self._fault: StorageError | None = None
        self._ended = False
        self._tries = 0
        self._retry: asyncio.TimerHandle | None = None
        self._thread: ThreadPoolExecutor | None = None
        if loop is not None:
            loop.add_reader(line.fileno(), self._on_readable)

    @classmethod
    def open(
        cls, server: Server, folder: Path, *, shard: int, epoch: int, boot: str, run: str = "", replay_from: int = 0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> "DatabaseJournal":  # fmt: skip
        """Take the shard, fencing earlier owners. `folder`: `data/shard-NN`, for what is noted beside the database.

        `run`: the cluster's life that the database belongs to; empty: whoever has it. Blocks. Raises Fenced,
        ConfigError, JournalCorrupt if the database lacks what was acknowledged, StorageError if it is not reached.
        """
        claim, line = open_line(
            server, shard, epoch,
            lambda connection: ownership.claim(server, connection, shard, epoch, boot, run),
        )  # fmt: skip
        try:
            mark = Acknowledged(folder, claim.cluster)
            last = max(claim.last_seq, replay_from)
            if mark.last() > last:
                raise _lacking(server, shard, mark, last)
            if claim.gone_through > replay_from:
                raise JournalCorrupt(
                    f"shard {shard}: {server.url.shown}: records 1 to {claim.gone_through} were folded, but the tables "
                    f"have {replay_from} of them"
                )
            return cls(server, shard, epoch, claim, line, mark, replay_from=replay_from, loop=loop)
        except BaseException:
            line.close()
            raise

    @property
    def recovery(self) -> Recovery:
        return self._recovery

    def replay(self, after_seq: int = 0) -> Iterator[Record]:
        if self._appended:
            raise StorageError(f"shard {self._shard}: replay comes before the first append")
        after_seq = max(after_seq, self._replay_from)
        yield from read_records(
            self._server, self._shard, after_seq=after_seq, through_seq=self._recovery.last_seq, boots=self._claim.boots
        )

    # -- writing

    def append(
        self, events: Sequence[bytes], *, at_ms: int, mono_ms: int, promise: bool, sync: bool = False, took_ms: int = 0
    ) -> int:  # fmt: skip
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        self._appended = True
        self._seq += 1
        body = b"".join(events)
        self.backlog_bytes += len(body)
        self._queue.append(Row(self._seq, at_ms, mono_ms, body))
        if self._line is not None and not self._flight:
            self._send()
        if self._loop is None:
            self._wait(ANSWER_S)
        return self._seq

    def _send(self) -> None:
        """Let what waits leave, up to the size of one statement."""
        assert self._line is not None
        queue, flight, size = self._queue, self._flight, 0
        while queue and size < STATEMENT_BYTES:
            row = queue.popleft()
            size += len(row.events)
            flight.append(row)
        try:
            self._want_writable(self._line.insert(flight))
        except LineBroken as fault:
            self._lost(str(fault))

    def _want_writable(self, wanted: bool) -> None:
        if self._loop is not None and self._line is not None:
            if wanted:
                self._loop.add_writer(self._line.fileno(), self._on_readable)
            elif self._writing:
                self._loop.remove_writer(self._line.fileno())
        self._writing = wanted

    def _on_readable(self) -> None:
        """The server has answered, or takes more, or is gone."""
        line = self._line
        if line is None:
            return
        try:
            self._want_writable(line.go_on())
            inserted = line.inserted()
        except LineBroken as fault:
            self._lost(str(fault))
            return
        if inserted is None:
            return
        if inserted != len(self._flight):
            self._die(Fenced(f"shard {self._shard}: another process has taken the shard from epoch {self._epoch}"))
            return
        self._tries = 0
        flight, self._flight = self._flight, []
        self._settled(flight)
        if self._queue:
            self._send()  # before the replies leave: the server works while they do
        self._told(flight[-1].seq)

    def _settled(self, rows: Sequence[Row]) -> None:
        """They are in the database."""
        size = sum(len(row.events) for row in rows)
        self.backlog_bytes -= size
        self.kept_bytes += size

    def _told(self, through_seq: int) -> None:
        """Records up to this one are in the database: their replies may leave."""
        self._mark.note(through_seq)
        self.durable_seq = self.synced_seq = through_seq
        if self.on_durable is not None:
            self.on_durable(through_seq)

    def _wait(self, timeout_s: float) -> None:
        """Until all is committed. Raises StorageError."""
        while self.durable_seq < self._seq:
            if self._fault is not None:
                raise self._fault
            if self._line is None:
                raise StorageError(f"shard {self._shard}: {self._server.url.shown} is not reached")
            before = self.durable_seq
            self._on_readable()
            if self.durable_seq == before and self._line is not None:
                fd = [self._line.fileno()]
                if not any(select(fd, fd if self._writing else [], [], timeout_s)):
                    raise StorageError(f"shard {self._shard}: {self._server.url.shown} does not answer")

    # -- a lost connection

    @property
    def away(self) -> bool:
        """The database is not reached just now."""
        return self._line is None and self._fault is None

    def _lost(self, why: str) -> None:
        """The connection is gone, and what became of the statement under way is not known."""
        line, self._line = self._line, None
        if line is not None:
            if self._loop is not None:
                self._loop.remove_reader(line.fileno())
                self._loop.remove_writer(line.fileno())
                self._writing = False
            line.close()
        log.warning("database lost: replies wait", shard=self._shard, reason=why)
        self._retry_soon()

    def _retry_soon(self) -> None:
        if self._loop is None or self._ended:
            return
        low, high = RETRY_S
        delay_s = min(high, low * 2**self._tries) * random.uniform(0.5, 1)
        self._tries = min(self._tries + 1, 10)
        self._retry = self._loop.call_later(delay_s, self._reconnect)

    def _reconnect(self) -> None:
        assert self._loop is not None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, f"database-{self._shard:02}")
        attempt = self._thread.submit(
            open_line, self._server, self._shard, self._epoch,
            lambda connection: ownership.settle(connection, self._shard, self._epoch),
        )  # fmt: skip
        attempt.add_done_callback(self._attempted)

    def _attempted(self, attempt: "Future[tuple[tuple[int, str] | None, Line]]") -> None:
        """In the thread. A loop that has ended meanwhile hears nothing; the line then ends with the process."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reconnected, attempt)

    def _reconnected(self, attempt: "Future[tuple[tuple[int, str] | None, Line]]") -> None:
        fault = attempt.exception()
        if fault is not None:
            if not isinstance(fault, StorageError):
                raise fault
            log.warning("database not reached", shard=self._shard, reason=str(fault))
            self._retry_soon()
            return
        found, line = attempt.result()
        if self._ended:
            line.close()
            return
        if found is None:
            line.close()
            self._die(Fenced(f"shard {self._shard}: another process has taken the shard from epoch {self._epoch}"))
            return
        last, cluster = found
        if last < self.durable_seq or cluster != self._claim.cluster:
            line.close()
            self._die(_lacking(self._server, self._shard, self._mark, last))
            return
        self._line = line
        assert self._loop is not None
        self._loop.add_reader(line.fileno(), self._on_readable)
        log.info("database is there again", shard=self._shard, waiting=len(self._flight) + len(self._queue))
        rows = [*self._flight, *self._queue]
        self._flight = []
        self._queue = deque(row for row in rows if row.seq > last)
        self._settled([row for row in rows if row.seq <= last])
        if self._queue:
            self._send()
        self._told(last)

    def _die(self, fault: StorageError) -> None:
        self._fault = fault
        if self._line is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._line.fileno())
                self._loop.remove_writer(self._line.fileno())
            self._line.close()
            self._line = None
        if self.on_fault is not None:
            self.on_fault(fault)

    # -- room, and what became safe

    @property
    def room(self) -> bool:
        return self._fault is None and self.backlog_bytes < ROOM_BYTES

    def check_room(self) -> bool:
        return self.room

    def sealed(self) -> Sequence[tuple[int, int, str]]:
        """All that is committed, as one piece: its rows can be read while more are written."""
        if self.durable_seq < self.first_kept:
            return ()
        return ((self.first_kept, self.durable_seq, "journal"),)

    def recycle(self, through_seq: int) -> None:
        """They are in the tables: the checkpointer may delete the rows when it hears where we begin now."""
        if through_seq >= self.first_kept:
            self.first_kept = through_seq + 1
            self._replay_from = max(self._replay_from, through_seq)
            self.kept_bytes = 0

    # -- the end

    def close(self, *, seal: bool) -> None:
        if self._ended:
            return
        self._ended = True
        if self._retry is not None:
            self._retry.cancel()
        try:
            if seal and self._fault is None:
                self._wait(ANSWER_S)
                self._seal()
        finally:
            if self._thread is not None:
                self._thread.shutdown(wait=False)
            self.on_fault = self.on_durable = None
            if self._fault is None:
                self._die(StorageError(f"shard {self._shard}: the journal is closed"))
            self._mark.close()

    def _seal(self) -> None:
        connection = self._server.connect(f"shard {self._shard}")
        try:
            if not ownership.seal(connection, self._shard, self._epoch):
                raise Fenced(f"shard {self._shard}: another process has taken the shard from epoch {self._epoch}")
        finally:
            connection.close()


def _lacking(server: Server, shard: int, mark: Acknowledged, last_seq: int) -> JournalCorrupt:
    """The error of a database that has lost something."""
    return JournalCorrupt(
        f"shard {shard}: {server.url.shown} ends with record {last_seq}, but record {mark.last()} was acknowledged: it "
        f"was restored or promoted without it, or is another database. To go on without what is missing, remove "
        f"{mark.path}"
    )
