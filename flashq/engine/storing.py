"""What a slot does with its part of a draft: stores it, and later lets it count or forgets it."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flashq.engine import bundles, events
from flashq.engine.bundles import Bundle, enter, reserve
from flashq.engine.debounce import debounced
from flashq.engine.debounce import refusal as debounce_refusal
from flashq.engine.dependencies import first_failure, give_up, look, serve_all
from flashq.engine.endings import forget, leave
from flashq.engine.engine import Engine
from flashq.engine.jobs import NO_OPTIONS, Job
from flashq.engine.links import DONE, GONE, WAITING, Ending, link_of
from flashq.engine.names import tell_decided
from flashq.engine.outbox import HANDLERS
from flashq.engine.parts import Part, Refusal
from flashq.engine.push import admit, new_job
from flashq.engine.queues import Queue
from flashq.engine.telling import tell
from flashq.engine.uniqueness import duplicate
from flashq.engine.uniqueness import refusal as unique_refusal
from flashq.engine.watching import add_watcher, find_job
from flashq.errors import RequestError
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import NULL, FlowChild, JobOptions

Entries = Sequence[tuple[FlowChild, bytes]]
"""Children, checked and folded, and their payloads."""
Bundled = Sequence[tuple[str, list[bytes]]]
"""Queue and payloads of each bundle."""
_ENCODERS: Final = (msgspec.json.Encoder().encode, msgspec.msgpack.Encoder().encode)
_DECODERS: Final = (msgspec.json.Decoder(list[FlowChild]).decode, msgspec.msgpack.Decoder(list[FlowChild]).decode)


def encoded(codec: int, children: Sequence[FlowChild]) -> bytes:
    """A frame of children, their payloads untouched."""
    return _ENCODERS[codec](children)


def decoded(codec: int, frame: bytes) -> list[tuple[FlowChild, bytes]]:
    """The children of a frame, and their payloads."""
    return [(child, payload_of(child.data, codec)) for child in _DECODERS[codec](frame)]


def store(
    engine: Engine, root: int, slot: int, codec: int, frame: bytes, entries: Entries | None, bundled: Bundled
) -> Part | Refusal:  # fmt: skip
    """Store a part, held; or why it cannot be, with nothing stored.

    `root` 0: its first job is the draft's. `entries`: the frame's, if they are at hand.
    """
    if entries is None:
        entries = decoded(codec, frame)
    refused = _first_refusal(engine, entries, bundled)
    if refused is not None:
        return refused
    jobs = []
    for child, payload in entries:
        job = new_job(engine, engine.queue(child.queue), codec, options_of(child), payload)
        root = root or job.id
        join(job, child, root)
        admit(engine, job)
        jobs.append(job)
    placed = [
        Bundle(queue, reserve(engine, engine.queue(queue), codec, len(payloads)), payloads)
        for queue, payloads in bundled
    ]
    part = put_part(engine, root, slot, jobs, placed)
    written = [(bundle.queue, bundle.runs, bundle.payloads) for bundle in placed]
    engine.record(events.Stored(root, slot, codec, frame, part.ids, written))
    return part


def _first_refusal(engine: Engine, entries: Entries, bundled: Bundled) -> Refusal | None:
    names = {*(child.queue for child, _ in entries), *(queue for queue, _ in bundled)}
    new = [name for name in names if name not in engine.queues]
    most = engine.limits.queues_max
    if len(engine.queues) + len(new) > most:
        return 0, f"Too many queues ({len(engine.queues)}, max {most})", "too_large"
    taken: set[tuple[str, str, str]] = set()
    for k, (child, _) in enumerate(entries):
        error = refusal_of(engine, child, taken)
        if error is not None:
            return k, str(error), error.code
    return None


def refusal_of(engine: Engine, child: FlowChild, taken: set[tuple[str, str, str]]) -> RequestError | None:
    """Why a child cannot be stored. `taken`: keys of those before it."""
    if child.unique_key is None and child.debounce_id is None:
        return None
    queue = engine.queues.get(child.queue)
    error: RequestError | None = None
    if child.debounce_id is not None:
        key = ("debounce_id", child.queue, child.debounce_id)
        if key in taken:
            return debounced(child.debounce_id)
        error = debounce_refusal(engine, queue, child.debounce_id) if queue is not None else None
        if child.debounce_ttl != 0:
            taken.add(key)
    if error is None and child.unique_key is not None:
        key = ("unique_key", child.queue, child.unique_key)
        if key in taken:
            return duplicate(child.unique_key)
        error = unique_refusal(queue, child.unique_key) if queue is not None else None
        taken.add(key)
    return error


_plain: Final[dict[str, FlowChild]] = {}
_PLAIN_MAX: Final = 4_096


def options_of(child: FlowChild) -> JobOptions:
    """The options that a child's job keeps; those of plain ones are shared."""
    child.data = NULL
    plain = _plain.get(child.queue)
    if plain is None:
        if len(_plain) >= _PLAIN_MAX:
            _plain.clear()
        plain = _plain[child.queue] = FlowChild(queue=child.queue)
    return NO_OPTIONS if child == plain else child


def join(job: Job, child: FlowChild, root: int) -> None:
    """The job belongs to a draft."""
    link = link_of(job)
    link.draft = root
    link.lenient = bool(child.ignore_failure)


def put_part(engine: Engine, root: int, slot: int, jobs: Sequence[Job], placed: list[Bundle]) -> Part:
    """These jobs are a part, live and in replay."""
    links = [link_of(job) for job in jobs]
    asked = sum(len(link.unmet) for link in links if link.unmet)
    asked += sum(job.options.job_id is not None for job in jobs)
    lenient = [job.id for job, link in zip(jobs, links, strict=True) if link.lenient]
    ids = [job.id for job in jobs]
    part = engine.parts[root, slot] = Part(root, slot, ids, asked, lenient=lenient, bundles=placed)
    return part


def _on_accept(engine: Engine, source: int, target: int, body: Any) -> None:
    root, parents, families, bundled = body
    event = events.Accepted(root, target, parents, families, bundled)
    engine.record(event)
    accept(engine, event)


def accept(engine: Engine, event: events.Accepted) -> None:
    """The whole is accepted: the jobs of this part are pushed, live and in replay."""
    part = engine.parts.pop((event.root, event.slot))
    jobs = [job for job_id in part.ids if (job := find_job(engine, job_id)) is not None]
    for job in jobs:
        link_of(job).draft = 0
    for job_id, children in event.families:
        _give_children(engine, job_id, children)
    for parent, children in event.parents:
        _give_parent(engine, part, parent, children)
    ready: dict[Queue, None] = {}
    for bundle, parent in zip(part.bundles, event.bundled, strict=True):
        if enter(engine, bundle, parent):
            ready[engine.queue(bundle.queue)] = None
    for job_id, watchers in part.early.items():
        _watch_entered(engine, job_id, watchers)
    for job in jobs:
        if _enter(engine, job):
            ready[job.queue] = None
    tell_decided(engine, part.ids)
    serve_all(engine, ready)


def _watch_entered(engine: Engine, job_id: int, watchers: list[int]) -> None:
    """A job of a bundle was watched before it was there."""
    page, i = engine.slots[job_id & 1023].find(job_id >> 10)
    if page is not None and page.jobs[i] is not None:
        for watcher in watchers:
            add_watcher(page, i, watcher)
    elif not engine.replaying:  # its queue was drained meanwhile
        engine.endings += [Ending(watcher, (job_id,), GONE) for watcher in watchers]


def _give_children(engine: Engine, job_id: int, children: list[int]) -> None:
    job = find_job(engine, job_id)
    if job is None:
        return
    link = link_of(job)
    early = link.left or {}
    link.children = children
    link.left = dict.fromkeys(children, WAITING)
    for other, fate in early.items():
        if fate == DONE:
            link.left.pop(other, None)
        elif other in link.left:
            link.left[other] = fate


def _give_parent(engine: Engine, part: Part, parent: int, children: list[int]) -> None:
    for job_id in children:
        job = find_job(engine, job_id)
        if job is not None:
            link_of(job).parent = parent
        elif not engine.replaying:  # it was cancelled, or its queue obliterated, meanwhile
            engine.endings.append(Ending(parent, (job_id,), DONE if job_id in part.lenient else GONE))


def _enter(engine: Engine, job: Job) -> bool:
    """A job of an accepted part goes to where it belongs; whether it is ready."""
    link = job.link
    assert link is not None
    if job.queue.heard:
        tell(engine, "pushed", job.queue.name, job.id, data=job.data, codec=job.codec)
    failed = first_failure(job, link)
    if failed:
        give_up(engine, job, failed)
        return False
    return look(engine, job, link)


def _on_discard(engine: Engine, source: int, target: int, body: Any) -> None:
    event = events.Discarded(body[0], target)
    if (event.root, target) in engine.parts:
        engine.record(event)
        discard(engine, event)


def discard(engine: Engine, event: events.Discarded) -> None:
    """The whole is refused: the jobs of this part never were, live and in replay."""
    part = engine.parts.pop((event.root, event.slot))
    for bundle in part.bundles:
        bundles.give_up(engine, bundle)
    for job_id in part.ids:
        job = find_job(engine, job_id)
        if job is None:
            continue
        queue = job.queue
        page, i = queue.slot.find(job.seq)
        assert page is not None
        leave(engine, page, i)
        queue.pushed_total -= 1
        engine.totals.pushed -= 1
        if job.options.debounce_id is not None:
            queue.debounced.pop(job.options.debounce_id, None)
        forget(engine, page, i, bad=True)
    tell_decided(engine, part.ids)


HANDLERS["accept"] = _on_accept
HANDLERS["discard"] = _on_discard
