"""The checkpointer's start: its thin engine as the tables have it, payloads as sizes, and what `Saver` has to know."""

from array import array
from collections.abc import Iterator
from typing import Any

from flashq.engine.jobs import Job
from flashq.engine.pages import Page
from flashq.engine.replay import Replayer
from flashq.storage import schema as s
from flashq.storage.recovery import Restoring, Tables
from flashq.storage.saving import Saver
from flashq.storage.thin import Places, ThinPage, stored


class ThinRestoring(Restoring):
    """Reads no payload of a plain job."""

    def payloads(self) -> Iterator[tuple[int, list[Any]]]:
        """See Restoring. A payload has at least one byte, so size 0 stands for none."""
        slots = self.engine.slots
        for row in self.rows.read(s.CHUNKS, ("id", "sizes")):
            sizes = array("I", row.sizes)
            page = slots[row.id >> 10 & 1023].pages[row.id >> 20]
            assert isinstance(page, ThinPage)
            page.chunks.append((row.id & 1023, len(sizes)))
            yield row.id, [stored(size) if size else None for size in sizes]

    def took_record(self, page: Page, i: int, job: Job) -> None:
        """Its payload is in the tables, as the others are."""
        assert isinstance(page, ThinPage)
        page.rows.add(i)
        job.data = stored(len(job.data))  # type: ignore[assignment]

    def load_answers(self) -> None:
        """They are not held here."""


def resume(tables: Tables, replayer: Replayer, saver: Saver) -> None:
    """Restore the saver's engine, and what it has to know of the rows that are there."""
    tables.restore(replayer, ThinRestoring)
    engine = saver.engine
    for slot in engine.slots.values():
        for page in slot.pages.values():
            assert isinstance(page, ThinPage)
            page.jobs = Places(page.jobs, page.note)
            page.saved = len(page.jobs)
            page.in_tables = True
    engine.changed.clear()
    engine.entries.clear()
    for queue in engine.queues.values():
        queue.touched = False
        if queue.kept:
            head, tail = queue.kept[0], queue.kept[-1]
            saver.kept[queue.name] = (head.row, tail.row + 1, head.stop - head.start)
    engine.touched.clear()
    saver.changes.last_token = tables.meta.get("last_token", 0)
    saver.dead.update((row[0], row[1]) for row in tables.numbers(s.DEAD_LETTERS.c.id, s.DEAD_LETTERS.c.no))
    saver.next_dead = max(saver.dead.values(), default=0) + 1
    saver.next_block = max((no for no, _ in tables.numbers(s.BLOCKS.c.no, s.BLOCKS.c.at_ms)), default=0) + 1
