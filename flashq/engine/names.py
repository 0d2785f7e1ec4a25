"""Custom ids: names that clients give to jobs. One name space over all shards: a name is one job's, whatever its queue.

Rules kept here
- The slot of a name (the hash of it, as for queues) holds what it is bound to: the id of a job, of any slot.
- A name is bound before its job is stored, to a *candidate*: an id that the job's slot has put aside. So the id alone
  tells what became of it: its job is there; its push is under way (`pending`); or it never was, or is no more, and then
  the next claim takes the name over. Nothing has to be undone after a crash at any moment.
- A completed job keeps its name while it is retained, but does not hold it: a new push takes it over. When a named job
  ceases to exist, its slot tells the name's slot through the outbox, which frees the name if it is still that job's.
- An id that was put aside is given to no other job, also after a restart: its page is reserved, and opened, in the
  journal before the candidate is told to another shard.

Who claims from whom, and in which order, is flashq/shard/naming.py.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flashq.engine import events, outbox
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done
from flashq.engine.pages import PAGE, PAGE_BITS
from flashq.errors import InvalidArgument
from flashq.protocol.commands import JobOptions
from flashq.protocol.slots import slot_of_queue

if TYPE_CHECKING:
    from flashq.engine.engine import Engine
    from flashq.engine.queues import Queue

FREE: Final = "name-free"
"""What journals of earlier versions may still have under way: [name, job id]."""
FREE_ALL: Final = "names-free"
"""The word by which a slot tells another that jobs are no more: [[name, job id], ...]."""
Heard = Callable[[bool], Any]
RESERVED: Final = 0
"""What a name is bound to while a run of a cron decides whose it is (named_runs.py); no job has this id."""


class Names:
    """What the names of this shard's slots are bound to, and which candidates of its own are under way."""

    __slots__ = ("awaited", "bound", "pending", "unused")

    def __init__(self) -> None:
        self.unused: dict[tuple[int, int], list[Any]] = {}
        """By (the job's slot, the name's): names whose jobs have ceased to exist in this tick, until it settles."""
        self.bound: dict[str, int] = {}
        self.pending: dict[int, list[Heard]] = {}
        """Candidates whose push is under way, and who waits to hear whether their job is there; jobs of drafts, if
        anybody waits. Not in the journal: after a restart no push is under way, and nobody waits."""
        self.awaited: dict[str, list[Callable[[], Any]]] = {}
        """Reserved names, and who waits until it is decided whose they are. Not in the journal, as `pending`."""


class Claims:
    """What is known of the names in one push."""

    __slots__ = ("candidates", "mine", "there", "used")

    def __init__(self, candidates: list[int]) -> None:
        self.candidates = candidates
        self.mine: dict[str, int] = {}
        """Names that are bound to a candidate of this push, until an entry uses them."""
        self.there: dict[str, int] = {}
        """Names that are a live job's."""
        self.used: list[int] = []
        """Candidates that have become jobs."""


# -- the name's side


def bind(engine: "Engine", names: Sequence[str], ids: Sequence[int]) -> None:
    """These names are these jobs' from now on."""
    if names:
        engine.names.bound.update(zip(names, ids, strict=True))
        engine.record(events.NamesBound(names, ids))


def free(engine: "Engine", source: int, target: int, body: Any) -> None:
    """A job is no more: its name is free, unless another has it by now."""
    free_all(engine, source, target, [body])


def free_all(engine: "Engine", source: int, target: int, body: Any) -> None:
    """As `free`, for many at once: [[name, job id], ...]."""
    bound = engine.names.bound
    freed = [name for name, job_id in body if bound.get(name) == job_id]
    if freed:
        for name in freed:
            del bound[name]
        engine.record(events.NamesFreed(freed), promise=False)


outbox.HANDLERS[FREE] = free
outbox.HANDLERS[FREE_ALL] = free_all


# -- the job's side


def holds_name(engine: "Engine", job_id: int) -> bool | None:
    """Whether a job of this shard is there and not completed; None: its push is under way (`wait_decided`)."""
    if job_id in engine.names.pending:
        return None
    slot = engine.slots.get(job_id & 1023)
    if slot is None:
        return False
    page, i = slot.find(job_id >> 10)
    if page is None or page.jobs[i] is None or (page.queue.sweep is not None and is_removed(page, i)):
        return False
    job = page.jobs[i]
    if type(job) is Job:
        if job.link is not None and job.link.draft:
            return None
        return job.state is not State.COMPLETED
    return page.leases is None or type(page.leases[i]) is not Done


def wait_decided(engine: "Engine", job_id: int, hear: Heard) -> None:
    """Have it told whether a job holds its name, once its push is over. It is under way."""
    engine.names.pending.setdefault(job_id, []).append(hear)


def tell_decided(engine: "Engine", ids: Iterable[int]) -> None:
    """The push of these jobs is over."""
    pending = engine.names.pending
    if not pending:
        return
    for job_id in ids:
        heard = pending.pop(job_id, None)
        if heard:
            there = bool(holds_name(engine, job_id))
            for hear in heard:
                hear(there)


def let_go(engine: "Engine", job: Job) -> None:
    """A job ceases to exist: tell the slot of its name."""
    name = job.options.job_id
    if name is not None and not engine.replaying:
        _drop(engine, job.queue.slot.no, name, job.id)


def _drop(engine: "Engine", slot: int, name: str, job_id: int) -> None:
    engine.names.unused.setdefault((slot, slot_of_queue(name)), []).append([name, job_id])


def settle(engine: "Engine") -> None:
    """Tell the slots of names whose jobs have ceased to exist, one message a pair of slots. Before the commit.

    Of this shard's own names all are one event.
    """
    unused, engine.names.unused = engine.names.unused, {}
    here: list[Any] = []
    for (source, target), dropped in unused.items():
        if engine.owns[target]:
            here += dropped
        else:
            outbox.post(engine, source, target, FREE_ALL, dropped)
    free_all(engine, 0, 0, here)


def put_aside(engine: "Engine", queue: "Queue", codec: int, n: int) -> list[int]:
    """Ids for `n` jobs that may come (`push.named_job`), until their push is over (`finish`)."""
    ids: list[int] = []
    slot_no = queue.slot.no
    while n:
        page = queue.open_pages[codec]
        if page is None or len(page.jobs) == PAGE:
            page = engine.new_page(queue, codec)
            engine.record(events.PageOpened(slot_no, page.base >> PAGE_BITS))
        i = len(page.jobs)
        step = min(PAGE - i, n)
        if page.last_ms != engine.now_ms:
            page.mark(engine.now_ms)
        page.jobs += [None] * step
        page.live += step  # so that the page is not dropped meanwhile
        first = (page.base + i) << 10 | slot_no
        ids += range(first, first + (step << 10), 1024)
        n -= step
    engine.names.pending.update((job_id, []) for job_id in ids)
    return ids


def finish(engine: "Engine", queue: "Queue", claims: Claims) -> None:
    """A push is over: candidates that no job came of never will be, and the names bound to them are free."""
    for name, job_id in claims.mine.items():
        _drop(engine, queue.slot.no, name, job_id)
    if len(claims.used) < len(claims.candidates):
        used = set(claims.used)
        give_up(engine, [job_id for job_id in claims.candidates if job_id not in used])
    tell_decided(engine, claims.candidates)


def give_up(engine: "Engine", unused: list[int]) -> None:
    """These ids were put aside in vain."""
    for job_id in unused:
        slot, seq = engine.slots[job_id & 1023], job_id >> 10
        page = slot.pages[seq >> PAGE_BITS]
        page.live -= 1
        if not page.live:
            page.drop_if_done()
        slot.bad.add(seq, seq + 1)
    engine.record(events.IdsUnused(unused), promise=False)


# -- where nothing can be asked


def claim_here(engine: "Engine", queue: "Queue", codec: int, options: Iterable[JobOptions]) -> Claims:
    """Claim the names of these jobs at once, which takes that names and jobs are all this shard's.

    Raises InvalidArgument, with nothing changed, where another shard would have to be asked.
    """
    bound = engine.names.bound
    there: dict[str, int] = {}
    free_names: list[str] = []
    for name in dict.fromkeys(o.job_id for o in options if o.job_id is not None):
        job_id = bound.get(name)
        holds: bool | None = False
        if not engine.owns[slot_of_queue(name)]:
            holds = None
        elif job_id is not None:
            decided = job_id != RESERVED and engine.owns[job_id & 1023]
            holds = holds_name(engine, job_id) if decided else None
        if holds is None:
            raise InvalidArgument(f"invalid value: `job_id` '{name[:64]}' cannot be decided by this shard alone")
        if holds:
            assert job_id is not None
            there[name] = job_id
        else:
            free_names.append(name)
    claims = Claims(put_aside(engine, queue, codec, len(free_names)))
    bind(engine, free_names, claims.candidates)
    claims.mine.update(zip(free_names, claims.candidates, strict=True))
    claims.there = there
    return claims
