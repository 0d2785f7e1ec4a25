"""Writing what changed: a thin engine's changes as rows, within a transaction of the caller.

Payloads of plain jobs are written once, when they are first folded, and only if they are still there; what becomes of
them changes the small row of their page. A page that nothing is left of takes its chunks along; of a page with many,
each goes as soon as none of its payloads is needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql

from flashq.engine.jobs import Job, State
from flashq.engine.queues import Kept, Queue
from flashq.engine.timers import Timers
from flashq.protocol.slots import slot_of_queue
from flashq.storage import schema as s
from flashq.storage.folds import Changes
from flashq.storage.queue_rows import Row, kept_row, queue_row, runs_blob
from flashq.storage.rows import chunks, encode, job_row, page_row, payloads_of, text_or_bytes
from flashq.storage.sections import SECTIONS
from flashq.storage.slot_entries import OF_SHARDS
from flashq.storage.thin import Places, Stored, ThinEngine, ThinPage, stored

_UPDATE_JOB: Final = update(s.JOBS).where(s.JOBS.c.id == bindparam("b_id"))
TOTALS: Final = (
    "pushed", "completed", "failed", "retried", "latency_ms", "latency_count",
)  # fmt: skip

CHUNKS_WHOLE: Final = 4
"""A page with no more chunks than this (2 MiB of payloads) keeps them until it goes itself: looking costs more."""


class Saver:
    """What of one thin engine is in the tables, and how to bring them up to it."""

    def __init__(self, engine: ThinEngine, changes: Changes) -> None:
        self.engine = engine
        self.changes = changes
        self.dead: dict[int, int] = {}
        """Job id -> number of its row in `dead_letters`."""
        self.next_dead = 1
        self.next_block = 1
        self.kept: dict[str, tuple[int, int, int]] = {}
        """Queue -> numbers of the first and the next row of `completed`, and how many jobs its first stretch has."""

    def pending_bytes(self) -> int:
        """About how much would be written now."""
        return sum(
            len(job.data) + 500 if type(job) is Job else len(job) + 2 if type(job) is bytes else 0
            for page in self.engine.changed
            for job in list.__getitem__(page.jobs, slice(page.saved, None))
        ) + sum(map(_answer_bytes, self.changes.answers))

    def save(self, connection: Connection, meta: Mapping[str, Any]) -> None:
        """Write all changes. What is noted of them is forgotten by `saved`, once they are committed."""
        engine, changes = self.engine, self.changes
        engine.forget_old()
        for slot in sorted(changes.left):
            self._delete_slot(connection, slot)
        pages = sorted(engine.changed, key=lambda page: page.id)
        changes.queues.update(engine.touched)
        for page in pages:
            changes.queues.add(page.queue)
        changes.slots.update(queue.slot.no for queue in changes.queues)
        rows = _PageRows(connection, self.dead)
        for page in pages:
            rows.add(page)
        rows.write()
        self._save_dead(connection, rows)
        self._save_queues(connection)
        self._save_slots(connection)
        self._save_entries(connection)
        self._save_answers(connection)
        totals = {name: getattr(engine.totals, name) for name in TOTALS}
        values = {**meta, "totals": encode(totals), "last_token": changes.last_token}
        _replace(connection, s.META, [{"key": key, "value": value} for key, value in values.items()])

    def saved(self) -> None:
        """It is committed: what was noted is in the tables."""
        for page in self.engine.changed:
            _stripped(page)
        self.engine.changed.clear()
        self.engine.entries.clear()
        for queue in self.engine.touched:
            queue.touched = False
        for queue in self.changes.queues:
            if queue.sweep is not None:  # what is cleared away is in the journal
                queue.sweep.pages, queue.sweep.dead, queue.sweep.trash = [], [], []
        self.engine.mono_timers = Timers()
        self.engine.touched.clear()
        self.changes.clear()

    def _delete_slot(self, connection: Connection, slot: int) -> None:
        """All rows of a slot, but for what shards have for themselves in slot 0."""
        for table in (s.JOBS, s.PAGES, s.CHUNKS, s.COMPLETED, s.QUEUES, s.SLOTS, s.DEAD_LETTERS):
            connection.execute(delete(table).where(table.c.slot == slot))
        c = s.ENTRIES.c
        connection.execute(delete(s.ENTRIES).where(c.slot == slot, c.kind.not_in(OF_SHARDS)))
        self.kept = {name: rows for name, rows in self.kept.items() if slot_of_queue(name) != slot}
        self.dead = {job_id: no for job_id, no in self.dead.items() if job_id & 1023 != slot}

    # -- dead letters

    def _save_dead(self, connection: Connection, rows: "_PageRows") -> None:
        gone = {job_id for job_id in (*rows.not_dead, *self._purged(connection)) if self.dead.pop(job_id, 0)}
        fresh: list[Row] = []
        for queue in rows.dying:
            for job in self._last_dead(queue, rows.touched_dead):
                if self.dead.get(job.id):
                    gone.add(job.id)
                self.dead[job.id] = self.next_dead
                fresh.append(
                    {
                        "no": self.next_dead, "id": job.id, "slot": queue.slot.no, "queue": queue.name,
                        "died_at": job.died_at, "attempts": job.attempts, "error": job.error,
                    }
                )  # fmt: skip
                self.next_dead += 1
        _delete(connection, s.DEAD_LETTERS, "id", gone)
        _insert(connection, s.DEAD_LETTERS, fresh)

    def _purged(self, connection: Connection) -> Iterator[int]:
        """Dead letters that were removed at one stroke, and may still have to be cleared away."""
        for name in self.changes.purged:
            queue = self.engine.queues[name]
            for (job_id,) in connection.execute(select(s.DEAD_LETTERS.c.id).where(s.DEAD_LETTERS.c.queue == name)):
                if job_id >> 10 not in queue.dead:
                    yield job_id

    def _last_dead(self, queue: Queue, touched: Mapping[int, Job]) -> list[Job]:
        """The latest dead letters of a queue, oldest first, up to one that did not change: the new ones are there."""
        last: list[Job] = []
        for seq in reversed(queue.dead):
            job = touched.get(seq << 10 | queue.slot.no)
            if job is None:
                break
            last.append(job)
        last.reverse()
        return last

    # -- queues, and what they keep of completed jobs

    def _save_queues(self, connection: Connection) -> None:
        rows: list[Row] = []
        for queue in self.changes.queues:
            if self.engine.queues.get(queue.name) is queue:
                rows.append(queue_row(queue))
                self._save_kept(connection, queue)
            elif queue.name not in self.engine.queues:
                connection.execute(delete(s.QUEUES).where(s.QUEUES.c.name == queue.name))
                connection.execute(delete(s.COMPLETED).where(s.COMPLETED.c.queue == queue.name))
                self.kept.pop(queue.name, None)
        _replace(connection, s.QUEUES, rows)

    def _save_kept(self, connection: Connection, queue: Queue) -> None:
        """Stretches come in at one end and go out at the other, so their rows are numbered in order."""
        first, end, size = self.kept.get(queue.name, (1, 1, 0))
        fresh: list[Kept] = []
        for kept in reversed(queue.kept):
            if getattr(kept, "row", 0):
                break
            fresh.append(kept)
        old = len(queue.kept) - len(fresh)
        head = queue.kept[0] if old else None
        mine = s.COMPLETED.c.queue == queue.name
        if head is not None and head.row != end - old:  # some went from the middle
            connection.execute(delete(s.COMPLETED).where(mine))
            fresh, old, first = list(reversed(queue.kept)), 0, end
        elif end - old > first:
            connection.execute(delete(s.COMPLETED).where(mine, s.COMPLETED.c.no < end - old))
            first = end - old
        rows = []
        for number, kept in enumerate(reversed(fresh), end):
            kept.row = number
            rows.append(kept_row(queue, kept, kept.row))
        if old and head is not None and head.stop - head.start != size:
            rows.append(kept_row(queue, head, head.row))
        _replace(connection, s.COMPLETED, rows)
        left = queue.kept[0].stop - queue.kept[0].start if queue.kept else 0
        self.kept[queue.name] = (first, end + len(fresh), left)

    # -- the rest

    def _save_slots(self, connection: Connection) -> None:
        rows = []
        for no in self.changes.slots:
            slot = self.engine.slot(no)
            runs = (runs_blob(slot.bad.runs()), runs_blob(slot.gone.runs()))
            row: Row = {"slot": no, "next_page": slot.next_page, "reserved_page": slot.reserved_page}
            rows.append({**row, "bad": runs[0], "gone": runs[1]})
        _replace(connection, s.SLOTS, rows)

    def _save_entries(self, connection: Connection) -> None:
        rows, gone = [], []
        for kind, slot, key in self.engine.entries:
            value = SECTIONS[kind].dump(self.engine, slot, key)
            if value is None:
                gone.append({"b_kind": kind, "b_slot": slot, "b_key": key})
            else:
                rows.append({"kind": kind, "slot": slot, "key": key, "value": encode(value)})
        if gone:
            c = s.ENTRIES.c
            where = (c.kind == bindparam("b_kind"), c.slot == bindparam("b_slot"), c.key == bindparam("b_key"))
            connection.execute(delete(s.ENTRIES).where(*where), gone)
        _replace(connection, s.ENTRIES, rows)

    def _save_answers(self, connection: Connection) -> None:
        """A block of what is new; blocks of which all is past its window go."""
        now = self.engine.now_ms
        window = self.engine.limits.idempotency_window_ms
        connection.execute(delete(s.BLOCKS).where(s.BLOCKS.c.kind == "answers", s.BLOCKS.c.at_ms < now - window))
        if self.changes.answers:
            value = encode(self.changes.answers)
            row = {"no": self.next_block, "kind": "answers", "at_ms": now, "value": value}
            connection.execute(insert(s.BLOCKS), [row])
            self.next_block += 1


class _PageRows:
    """Rows of pages, chunks and jobs in the making."""

    def __init__(self, connection: Connection, dead: Mapping[int, int]) -> None:
        self._connection = connection
        self._dead = dead
        self._pages: list[Row] = []
        self._chunks: list[Row] = []
        self._new_jobs: list[Row] = []
        self._jobs: list[Row] = []
        self._gone_jobs: list[int] = []
        self._gone_pages: list[int] = []
        self._gone_chunks: list[int] = []
        self.not_dead: set[int] = set()
        """Touched ids that are no dead letters."""
        self.touched_dead: dict[int, Job] = {}
        self.dying: set[Queue] = set()
        """Queues with new dead letters."""

    def add(self, page: ThinPage) -> None:
        """All that changed of one page."""
        places = page.jobs
        assert isinstance(places, Places)
        slot_no = page.slot.no
        if page.slot.pages.get(page.base >> 10) is not page:
            if page.in_tables:
                self._gone_pages.append(page.id)
            self._gone_jobs += [(page.base + i) << 10 | slot_no for i in page.rows]
            self.not_dead.update((page.base + i) << 10 | slot_no for i in page.rows)
            return
        for i in places.touched_places():
            self._place(page, i, list.__getitem__(places, i) if i < len(places) else None)
        if len(page.chunks) > CHUNKS_WHOLE:
            self._thin(page, places)
        if len(places) > page.saved:
            new = list(chunks(page.id, page.saved, list.__getitem__(places, slice(page.saved, None))))
            page.chunks += [(row["id"] & 1023, row["places"]) for row in new]
            self._chunks += new
        self._pages.append(page_row(page, page.id))

    def _thin(self, page: ThinPage, places: Places) -> None:
        """Chunks of which no payload is needed any more go before their page does."""
        needed = [type(place) is not Job and place is not None for place in list.__iter__(places)]
        gone = [chunk for chunk in page.chunks if not any(needed[chunk[0] : sum(chunk)])]
        self._gone_chunks += [page.id << 10 | start for start, _ in gone]
        page.chunks = [chunk for chunk in page.chunks if chunk not in gone]

    def _place(self, page: ThinPage, i: int, job: Any) -> None:
        job_id = (page.base + i) << 10 | page.slot.no
        if type(job) is not Job:
            if i in page.rows:
                self._gone_jobs.append(job_id)
                self.not_dead.add(job_id)
            return
        row = job_row(job, job_id)
        data: Any = job.data
        if i in page.rows and isinstance(data, Stored):
            self._jobs.append({f"b_{key}" if key == "id" else key: value for key, value in row.items()})
        else:
            data = data if type(data) is bytes else self._payload(page, i)
            self._new_jobs.append({**row, "data": text_or_bytes(data, job.codec)})
        if job.state is State.FAILED and job.seq in page.queue.dead:
            self.touched_dead[job_id] = job
            if job_id not in self._dead or next(reversed(page.queue.dead), None) == job.seq:
                self.dying.add(page.queue)
        else:
            self.not_dead.add(job_id)

    def _payload(self, page: ThinPage, i: int) -> bytes:
        """The payload of a plain job that becomes a record, from its chunk."""
        c = s.CHUNKS.c
        at_most = page.id << 10 | i
        query = select(c.id, c.payloads).where(c.id <= at_most).order_by(c.id.desc()).limit(1)
        first, value = self._connection.execute(query).one()
        payload: bytes | None = payloads_of(value)[at_most - first]
        assert payload is not None, f"place {i} of page {page.id} is in the tables"
        return payload

    def write(self) -> None:
        """All at once, statement by statement."""
        connection = self._connection
        if self._gone_pages:
            where = (s.CHUNKS.c.id >= bindparam("first"), s.CHUNKS.c.id < bindparam("end"))
            ranges = [{"first": page << 10, "end": (page + 1) << 10} for page in self._gone_pages]
            connection.execute(delete(s.CHUNKS).where(*where), ranges)
        _delete(connection, s.CHUNKS, "id", self._gone_chunks)
        _delete(connection, s.PAGES, "id", self._gone_pages)
        _delete(connection, s.JOBS, "id", self._gone_jobs)
        _insert(connection, s.CHUNKS, self._chunks)
        _replace(connection, s.PAGES, self._pages)
        _replace(connection, s.JOBS, self._new_jobs)
        if self._jobs:
            names = [name for name in self._jobs[0] if name != "b_id"]
            connection.execute(_UPDATE_JOB.values({name: bindparam(name) for name in names}), self._jobs)


def _stripped(page: ThinPage) -> None:
    """What is in the tables now need not be here."""
    places = page.jobs
    assert isinstance(places, Places)
    for i in places.touched_places():
        job = list.__getitem__(places, i) if i < len(places) else None
        if type(job) is Job:
            page.rows.add(i)
            if type(job.data) is bytes:
                job.data = stored(len(job.data))  # type: ignore[assignment]
        else:
            page.rows.discard(i)
            if type(job) is bytes:
                places.replace(i, stored(len(job)))
    page.saved = len(places)
    page.in_tables = page.slot.pages.get(page.base >> 10) is page
    places.touched.clear()


def _answer_bytes(answer: Sequence[Any]) -> int:
    return len(answer[0]) + len(answer[1]) + len(answer[3]) + 40


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _replace(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert, or take the place of rows with the same key. All columns are given."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table).prefix_with("OR REPLACE"), rows)
        return
    query = postgresql.insert(table)
    fresh = {column.name: query.excluded[column.name] for column in table.columns if not column.primary_key}
    connection.execute(query.on_conflict_do_update(index_elements=list(table.primary_key), set_=fresh), rows)


def _delete(connection: Connection, table: Table, column: str, values: Iterable[int]) -> None:
    rows = [{"b_key": value} for value in values]
    if rows:
        connection.execute(delete(table).where(table.c[column] == bindparam("b_key")), rows)
