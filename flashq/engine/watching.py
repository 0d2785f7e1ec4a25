"""Watching: a job's slot is asked to tell when the job ends, and tells.

Rules kept here
- A watch is set in the slot of the job that is watched, and answered from there; answer and news are messages of one
  pair of slots, so they come in order, and each once.
- A job that has ended is not watched, but its fate is the answer: completed, also when nothing but its id is left
  of it, or gone (hard cases: "Ended ids").
- Who watched and is not there any more is told in vain, which does nothing.

Messages: `watch` [[who watches, [jobs]], ...] to the jobs' slot; `fates` [[who waits, fate, [jobs]], ...] from there,
one message a pair of slots however many jobs ended in the tick. What becomes of who waits is in dependencies.py.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flashq.engine import events, names, queries
from flashq.engine.endings import as_record
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.links import DEAD, DONE, GONE, UNKNOWN, WAITING, Ending, link_of
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.pages import Page
from flashq.errors import JobNotFound
from flashq.protocol.commands import JobOptions
from flashq.protocol.slots import SLOTS

if TYPE_CHECKING:
    from flashq.engine.parts import Part

_SLOT: Final = SLOTS - 1


def find_job(engine: Engine, job_id: int) -> Job | None:
    """The record of this id, if there is one that was not removed."""
    slot = engine.slots.get(job_id & _SLOT)
    page, i = slot.find(job_id >> 10) if slot is not None else (None, 0)
    if page is None:
        return None
    job = page.jobs[i]
    if type(job) is not Job or (page.queue.sweep is not None and is_removed(page, i)):
        return None
    return job


def fate_of(engine: Engine, job_id: int) -> int:
    """What is known of a job of our slots."""
    seen = queries.find(engine, job_id)
    if seen is not None:
        if seen.state is State.COMPLETED:
            return DONE
        return DEAD if seen.state is State.FAILED else WAITING
    slot, seq = engine.slots.get(job_id & _SLOT), job_id >> 10
    if slot is None or not slot.was_given(seq):
        return UNKNOWN
    if seq in slot.gone:
        return DONE
    page, i = slot.find(seq)
    if page is not None and page.reserved:
        return WAITING
    removed = page is not None and page.jobs[i] is not None
    return GONE if removed or seq in slot.bad else DONE


def check_known(engine: Engine, options: JobOptions, where: str) -> None:
    """Raise JobNotFound for a dependency in our slots that never was."""
    for other in options.depends_on or ():
        if engine.owns[other & _SLOT] and fate_of(engine, other) == UNKNOWN:
            raise unknown_dependency(other, where)


def unknown_dependency(job_id: int, where: str = "") -> JobNotFound:
    return JobNotFound(f"{where}Dependency {job_id} not found")


def watch(engine: Engine, jobs: Sequence[Job]) -> None:
    """See to it that these jobs, which are held, hear of all that they depend on."""
    asked: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(dict)
    for job in jobs:
        assert job.link is not None
        job_id = job.id
        for other in job.link.unmet or ():
            asked[job_id & _SLOT, other & _SLOT].setdefault(job_id, []).append(other)
    for (source, target), pairs in asked.items():
        post(engine, source, target, "watch", [[job_id, others] for job_id, others in pairs.items()])


def _on_watch(engine: Engine, source: int, target: int, body: Any) -> None:
    """Watch what has not ended, and answer."""
    pairs: list[tuple[int, list[int]]] = []
    answer: list[Any] = []
    for watcher, others in body:
        by_fate: dict[int, list[int]] = {}
        for other in others:
            by_fate.setdefault(fate_of(engine, other), []).append(other)
        live = by_fate.get(WAITING, []) + by_fate.get(DEAD, [])
        if live:
            pairs.append((watcher, live))
        answer += [[watcher, fate, jobs] for fate, jobs in by_fate.items()]
    if pairs:
        event = events.Watched(pairs)
        engine.record(event)
        watched(engine, event)
    post(engine, target, source, "fates", answer)


def watched(engine: Engine, event: events.Watched) -> None:
    """These jobs are watched, live and in replay."""
    for watcher, others in event.pairs:
        for other in others:
            page, i = engine.slots[other & _SLOT].find(other >> 10)
            assert page is not None
            if page.reserved:
                part_of(engine, other).early.setdefault(other, []).append(watcher)
            else:
                add_watcher(page, i, watcher)


def add_watcher(page: Page, i: int, watcher: int) -> None:
    link = link_of(as_record(page, i))
    if link.watchers is None:
        link.watchers = {}
    link.watchers[watcher] = None


def part_of(engine: Engine, job_id: int) -> "Part":
    """The part that has a job of a bundle. There are few parts at a time."""
    slot = job_id & _SLOT
    for part in engine.parts.values():
        if part.slot == slot and any(
            first <= job_id < first + count * SLOTS for bundle in part.bundles for first, count in bundle.runs
        ):
            return part
    raise AssertionError(f"job {job_id} is on a page of a bundle that no part has")


def settle(engine: Engine) -> None:
    """Tell who waits what came of the jobs that ended, and go on while more end by that.

    To be called before the tick is committed, so that ends and messages are one record.
    """
    while engine.endings:
        endings, engine.endings = engine.endings, []
        for (source, target), learnt in _by_slots(endings).items():
            body = [[watcher, fate, jobs] for (watcher, fate), jobs in learnt.items()]
            post(engine, source, target, "fates", body)
    if engine.names.unused:
        names.settle(engine)


_Learnt = dict[tuple[int, int], list[int]]
"""(who waits, fate) -> the jobs, in order."""


def _by_slots(endings: Sequence[Ending]) -> dict[tuple[int, int], _Learnt]:
    sorted_: dict[tuple[int, int], _Learnt] = {}
    for ending in endings:
        watcher, others = ending.watcher, ending.others
        learnt = sorted_.setdefault((others[0] & _SLOT, watcher & _SLOT), {})
        learnt.setdefault((watcher, ending.fate), []).extend(others)
    return sorted_


HANDLERS["watch"] = _on_watch
