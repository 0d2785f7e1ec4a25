"""The state again from a shard's tables: up to one record of the journal, from which replay goes on.

`Tables.find` looks at the position, in a read transaction that stands until `close`: what is restored belongs to that
position, whatever the checkpointer commits meanwhile. Plain jobs are restored a chunk at a time.

The checkpointer restores its thin engine in the same way; then payloads become sizes as they are read.
"""

from array import array
from collections.abc import Iterator, Sequence
from re import finditer
from typing import Any, Final, Protocol

from sqlalchemy import Column, Connection, Table, select

from flashq.engine.endings import await_age, own_age
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done, Lease
from flashq.engine.pages import PAGE, Page
from flashq.engine.queues import Kept, Queue
from flashq.engine.removal import resume_sweep
from flashq.engine.replay import Replayer
from flashq.engine.restoring import (
    Stretch,
    add_place,
    arm_ttl,
    await_moment,
    come_back,
    lend_again,
    line_up,
    waiting_places,
)
from flashq.storage import schema as s
from flashq.storage.queue_rest import set_buckets, set_queue_rest, shifted_rest
from flashq.storage.rows import RECORD, WAITING, crc_of, decode, defaults_of, leases_of, payloads_of, record_of
from flashq.storage.sections import SECTIONS
from flashq.storage.sites import Site, checked, close, meta_of

_WAITING_RUN: Final = b"\\x%02x+" % WAITING


class Tables:
    """One shard's tables, open for reading at one position."""

    def __init__(self, site: Site, connection: Connection) -> None:
        self.site = site
        self.connection = connection
        self.meta = meta_of(connection)
        self.position: int = self.meta.get("position", 0)
        """The last record of the journal that is in them; 0: none."""

    @classmethod
    def find(cls, site: Site) -> "Tables | None":
        """The tables of a site, None where there are none.

        Raises JournalCorrupt if they are damaged, CheckpointTooNew if a later version wrote them.
        """
        connection = site.read()
        return cls(site, connection) if connection is not None else None

    def close(self) -> None:
        """Give the connection back."""
        close(self.connection)

    def restore(self, replayer: Replayer, restoring: "type[Restoring] | None" = None) -> None:
        """Fill the replayer's engine, which is new. Raises JournalCorrupt where rows are damaged."""
        restoring = restoring or Restoring
        if not self.position:
            return
        with checked(self.site):
            try:
                engine = replayer.engine
                engine.begin(self.meta["at_ms"], decode(self.meta["clock"])[2])
                restoring(TableRows(self.connection), replayer.engine).run()
                self._restore_meta(replayer)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
                raise s.corrupt(self.site.name, self.site.shard, f"{type(e).__name__}: {e}") from e

    def numbers(self, *columns: Column[int]) -> list[tuple[int, ...]]:
        """These columns of all rows of a table."""
        with checked(self.site):
            return [tuple(row) for row in self.connection.execute(select(*columns))]

    def _restore_meta(self, replayer: Replayer) -> None:
        engine = replayer.engine
        for name, value in decode(self.meta["totals"]).items():
            setattr(engine.totals, name, value)
        engine.see_token(self.meta["last_token"])
        boot, offset, last = decode(self.meta["clock"])
        replayer.go_on_from((boot, offset, last))


class Rows(Protocol):
    """Where rows come from: the tables of a shard, or what another shard sent of a slot."""

    def read(
        self, table: Table, names: Sequence[str] = (), *, kind: str | None = None, order: Sequence[str] = ()
    ) -> Iterator[Any]:
        """The rows of a table, or those of one kind, as objects with these columns (all, if none are named)."""


class TableRows:
    """Rows of a shard's tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(
        self, table: Table, names: Sequence[str] = (), *, kind: str | None = None, order: Sequence[str] = ()
    ) -> Iterator[Any]:
        """See Rows."""
        c = table.c
        query = select(*(c[name] for name in names)) if names else select(table)
        if kind is not None:
            query = query.where(c.kind == kind)
        query = query.order_by(*(c[name] for name in order))
        return iter(self._connection.execution_options(yield_per=512).execute(query))


class Restoring:
    """One pass over the rows."""

    def __init__(self, rows: Rows, engine: Engine, shift_ms: int = 0) -> None:
        """`shift_ms`: what the engine's monotonic clock shows more than the one that the rows are of."""
        self.rows = rows
        self.engine = engine
        self._shift_ms = shift_ms
        self._queues: list[Queue] = []
        self._pages: list[Page] = []
        self._leases: dict[tuple[Any, ...], Lease] = {}
        self._kinds: dict[Page, bytes] = {}
        """What the places of a page hold, where they are not all plain and waiting."""
        self._plain: dict[Queue, list[Stretch]] = {}
        self._records: dict[Queue, list[Job]] = {}
        self._removed_dead: dict[Queue, dict[int, None]] = {}
        self._rests: list[tuple[Queue, Any]] = []

    def run(self) -> None:
        """In the order in which one thing needs the other."""
        self._load_entries("defaults")
        self._load_slots()
        self._load_queues()
        self._load_pages()
        self._load_chunks()
        self._load_dead()
        self._load_jobs()
        self._load_completed()
        for lease in self._leases.values():
            lend_again(self.engine, lease)
        for queue in self._queues:
            line_up(self.engine, queue, self._plain.get(queue, ()), self._records.get(queue, ()))
        for queue, rest in self._rests:
            set_buckets(self.engine, queue, rest)
            if queue.sweep is not None:
                resume_sweep(self.engine, queue, self._removed_dead.get(queue, {}))
            self.engine.touch(queue)
        self.load_answers()
        for kind in SECTIONS:
            if kind != "defaults":
                self._load_entries(kind)

    def _load_entries(self, kind: str) -> None:
        load = SECTIONS[kind].load
        for row in self.rows.read(s.ENTRIES, ("slot", "key", "value"), kind=kind, order=("slot", "key")):
            load(self.engine, row.slot, row.key, decode(row.value))

    def _load_slots(self) -> None:
        for row in self.rows.read(s.SLOTS):
            slot = self.engine.slot(row.slot)
            slot.next_page, slot.reserved_page = row.next_page, row.reserved_page
            for runs, blob in ((slot.bad, row.bad), (slot.gone, row.gone)):
                numbers = array("q", blob)
                for first, stop in zip(numbers[::2], numbers[1::2], strict=True):
                    runs.add(first, stop)

    def _load_queues(self) -> None:
        for row in self.rows.read(s.QUEUES):
            queue = self.engine.queue(row.name)
            self._queues.append(queue)
            queue.paused = bool(row.paused)
            queue.pushed_total, queue.completed_total = row.pushed_total, row.completed_total
            queue.failed_total, queue.used_at = row.failed_total, row.used_at
            self._rests.append((queue, shifted_rest(decode(row.rest), self._shift_ms)))
            set_queue_rest(self.engine, *self._rests[-1])

    def _load_pages(self) -> None:
        engine = self.engine
        for row in self.rows.read(s.PAGES):
            if crc_of(row.defaults, row.at, row.ms, row.kinds, row.leases) != row.crc:
                raise ValueError(f"the row of page {row.id} has another checksum")
            queue, no = engine.queues[row.queue], row.id >> 10
            page = engine.make_page(queue.slot, no, queue, row.codec, defaults_of(row.defaults))
            queue.slot.pages[no] = page
            self._pages.append(page)
            page.at, page.ms = array("H", row.at), array("q", row.ms)
            page.last_ms = page.ms[-1] if page.ms else -1
            page.records = row.records
            page.jobs.extend([None] * (row.size - len(page.jobs)))
            page.live = row.size - row.kinds.count(0) if row.kinds else row.size
            if row.kinds:
                self._kinds[page] = row.kinds
                runs = [m.span() for m in finditer(_WAITING_RUN, row.kinds)]
            else:
                runs = [(0, row.size)] if row.size else []
            if queue.sweep is None or page.base >= queue.era_base:  # else they are removed, and wait to be cleared away
                self._plain.setdefault(queue, []).extend(waiting_places(page, *run) for run in runs)
            for run in leases_of(row.leases):
                self._lend(queue, page, *run)
        for row in self.rows.read(s.QUEUES, ("name", "open_json", "open_msgpack")):
            queue = engine.queues[row.name]
            pages = queue.slot.pages
            queue.open_pages = [pages.get(row.open_json), pages.get(row.open_msgpack)]

    def _lend(
        self, queue: Queue, page: Page, start: int, stop: int, token: int, started_at: int, soft_ms: int,
        deadline: int, gid: int, hard_at: int,
    ) -> None:  # fmt: skip
        """Jobs of one pull that share everything share one lease, as they did; a hard deadline is a job's own."""
        alone = page.base + start if hard_at else -1
        key = (queue, token, started_at, soft_ms, deadline, gid, alone)
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = Lease(token, queue, started_at, soft_ms, deadline + self._shift_ms, gid)
            lease.hard_at = hard_at + self._shift_ms if hard_at else 0
        add_place(lease, page, start, stop)
        if page.base >= queue.void_base:
            queue.active += stop - start
            self.engine.totals.active += stop - start

    def _load_chunks(self) -> None:
        """Payloads of plain jobs to their places, but for those that have ended or became records."""
        slots = self.engine.slots
        for chunk_id, payloads in self.payloads():
            page = slots[chunk_id >> 10 & 1023].pages[chunk_id >> 20]
            start = chunk_id & 1023
            kinds = self._kinds.get(page)
            if kinds is not None:
                mine = kinds[start : start + len(payloads)]
                payloads = [p if 0 < kind < RECORD else None for p, kind in zip(payloads, mine, strict=True)]
            page.jobs[start : start + len(payloads)] = payloads
            if start + len(payloads) == PAGE:
                page.settle()  # at once: a million objects would leave their arenas in pieces

    def payloads(self) -> Iterator[tuple[int, list[Any]]]:
        """The id of each chunk and its payloads; None in places that have none."""
        for row in self.rows.read(s.CHUNKS, ("id", "crc", "sizes", "payloads")):
            if crc_of(row.sizes, row.payloads) != row.crc:
                raise ValueError(f"chunk {row.id} has another checksum")
            yield row.id, payloads_of(row.payloads)

    def took_record(self, page: Page, i: int, job: Job) -> None:
        """A record was restored; for whoever has to know."""

    def _load_jobs(self) -> None:
        engine = self.engine
        for row in self.rows.read(s.JOBS):
            page = engine.slots[row.slot].pages[row.id >> 20]
            i = (row.id >> 10) & 1023
            if self._kinds[page][i] != RECORD:
                raise ValueError(f"job {row.id} has a row, but its page says it has none")
            job, timed = record_of(row, page)
            page.jobs[i] = job
            self.took_record(page, i, job)
            if timed and job.state is not State.COMPLETED:
                arm_ttl(engine, job)
            removed = page.queue.sweep is not None and job.state is not State.COMPLETED and is_removed(page, i)
            come_back(engine, job, removed=removed)
            if removed:
                if job.state is State.FAILED:
                    self._removed_dead.setdefault(page.queue, {})[job.seq] = None
            elif job.state is State.WAITING:
                self._records.setdefault(page.queue, []).append(job)
            elif job.state is State.DELAYED:
                await_moment(engine, job)
            elif job.state in (State.HELD, State.PARENT):
                page.queue.held += 1
        self._check_places()

    def _check_places(self) -> None:
        """Whether every place has what its page says."""
        for page in self._pages:
            if page.live != len(page.jobs) - page.jobs.count(None):
                raise ValueError(f"page {page.base >> 10} of slot {page.slot.no} lacks jobs")
            page.settle()

    def _load_completed(self) -> None:
        for row in self.rows.read(s.COMPLETED, order=("queue", "no")):
            queue = self.engine.queues[row.queue]
            seq = row.first_id >> 10
            page = queue.slot.pages[seq >> 10]
            start = seq & 1023
            stop = start + row.jobs
            result = row.result.encode() if isinstance(row.result, str) else row.result
            done = Done(row.completed_at, row.started_at, row.token, result, row.codec)
            page.marks()[start:stop] = [done] * row.jobs
            kept = Kept(page, start, stop, done, row.bytes)
            kept.row = row.no
            queue.kept.append(kept)
            if own_age(kept):
                await_age(self.engine, kept)
            queue.completed += row.jobs
            queue.completed_bytes += row.bytes
            self.engine.totals.completed_now += row.jobs

    def _load_dead(self) -> None:
        engine = self.engine
        for row in self.rows.read(s.DEAD_LETTERS, ("id", "queue"), order=("no",)):
            queue = engine.queues[row.queue]
            queue.dead[row.id >> 10] = None
            queue.dead_count += 1
            engine.totals.dead += 1

    def load_answers(self) -> None:
        """Replies to idempotency keys, as they came."""
        engine = self.engine
        for row in self.rows.read(s.BLOCKS, ("value",), kind="answers", order=("no",)):
            for scope, key, digest, reply, at_ms, slot in decode(row.value):
                engine.answers.keep(engine.limits, scope, key, digest, reply, at_ms, slot)
