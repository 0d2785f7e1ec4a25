"""Bundles: many children of one parent that have no options, stored as plain jobs on pages of their own.

Rules kept here
- All jobs of a bundle's pages are children of one parent, which the pages' defaults name; so a child needs no record
  to know its parent, and is pulled and acked in slices as other plain jobs are. One that fails or is looked at becomes
  a record that names its parent itself (`as_record`).
- Until its draft is accepted a bundle only holds places; the payloads are with the part (parts.py). So such jobs are
  never held: they are not there, or ready.
- A queue that is drained or obliterated meanwhile takes the places with it: those jobs are gone.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from flashq.engine.engine import Engine
from flashq.engine.links import GONE, run_ended
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.push import counted_in
from flashq.engine.queues import Queue
from flashq.engine.telling import tell

Runs = list[tuple[int, int]]
"""(first id, count), each within one page."""


class Bundle(Struct, array_like=True, gc=False):
    """Jobs of one queue that wait for their draft's acceptance."""

    queue: str
    runs: Runs
    payloads: list[bytes]


def reserve(engine: Engine, queue: Queue, codec: int, n: int) -> Runs:
    """Places for `n` jobs on new pages."""
    runs: Runs = []
    while n:
        page = engine.new_page(queue, codec)
        i = len(page.jobs)
        step = min(PAGE - i, n)
        hold_places(engine, page, step)
        runs.append(((page.base + i) << 10 | page.slot.no, step))
        n -= step
    queue.open_pages[codec] = None
    return runs


def hold_places(engine: Engine, page: Page, n: int) -> None:
    """The next `n` places of a new page are a bundle's, live and in replay."""
    page.mark(engine.now_ms)
    page.jobs += [None] * n
    page.reserved = True


def ids_of(runs: Sequence[tuple[int, int]]) -> list[int]:
    return [job_id for first, count in runs for job_id in range(first, first + count * 1024, 1024)]


def enter(engine: Engine, bundle: Bundle, parent: int) -> bool:
    """The draft is accepted: the jobs are ready, live and in replay. Whether there are any."""
    queue = engine.queue(bundle.queue)
    done = entered = 0
    for first, count in bundle.runs:
        page, i = _free_places(queue, first)
        payloads = bundle.payloads[done : done + count]
        done += count
        page.defaults = replace(page.defaults, parent=parent)
        if page.base < max(queue.era_base, queue.void_base):
            _take_away(engine, page, i, count)
            continue
        page.fill(i, payloads)
        seq = page.base + i
        queue.lane.extend(range(seq, seq + count))
        entered += count
        if queue.heard:
            for k, payload in enumerate(payloads):
                tell(engine, "pushed", queue.name, first + k * 1024, data=payload, codec=page.codec)
    counted_in(engine, queue, entered)
    return entered > 0


def give_up(engine: Engine, bundle: Bundle) -> None:
    """The draft is refused: these jobs never were, live and in replay."""
    queue = engine.queue(bundle.queue)
    for first, count in bundle.runs:
        page, i = _free_places(queue, first)
        _take_away(engine, page, i, count)


def _free_places(queue: Queue, first: int) -> tuple[Page, int]:
    seq = first >> 10
    page = queue.slot.pages[seq >> PAGE_BITS]
    page.reserved = False
    return page, seq & (PAGE - 1)


def _take_away(engine: Engine, page: Page, i: int, count: int) -> None:
    run_ended(engine, page, i, i + count, GONE)
    page.slot.bad.add(page.base + i, page.base + i + count)
    page.drop_if_done()
