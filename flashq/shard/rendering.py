"""Deliveries and jobs of the engine, as replies: where its data becomes bytes for a worker."""

from typing import Any, Final

from flashq.engine.deliveries import Delivery, Lone, Part
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Lease
from flashq.engine.pages import Page
from flashq.engine.queries import WIRE, Seen
from flashq.engine.queues import Queue
from flashq.engine.settings import Defaults
from flashq.protocol.codec import raw, transcoded
from flashq.protocol.commands_common import CommonEntry
from flashq.protocol.dispatch import Codec
from flashq.protocol.job_records import BinaryRecords, TextRecords, Usual
from flashq.protocol.jobs import (
    BinaryShape,
    JobView,
    TextShape,
    encode_binary,
    encode_text,
    plain_binary,
    plain_text,
)  # fmt: skip

_SHAPES_MAX: Final = 4096
_BINARY_ONE = b"\x83\xa2ok\xc3\xa3job"
_BINARY_MANY = b"\x83\xa2ok\xc3\xa4jobs\xdd"
_BINARY_END = b"\xa7success\xc3"


class Renderer:
    """Keeps the shapes of queues' jobs."""

    def __init__(self) -> None:
        self._shapes: tuple[dict[Any, TextShape], dict[Any, BinaryShape]] = ({}, {})
        self._usual: dict[str, tuple[Defaults, bytes]] = {}
        """What a PULL in text was last answered with, by queue: defaults, and the reply around the job."""

    def text_shape(self, queue: Queue, part: Part) -> TextShape:
        key = (queue.name, part.defaults)
        shape = self._shapes[0].get(key)
        if shape is None:
            if len(self._shapes[0]) >= _SHAPES_MAX:
                self._shapes[0].clear()
            d = part.defaults
            shape = self._shapes[0][key] = TextShape(queue.name, d.max_attempts, d.backoff_ms, d.parent)
        return shape

    def binary_shape(self, queue: Queue, part: Part) -> BinaryShape:
        key = (queue.name, part.defaults)
        shape = self._shapes[1].get(key)
        if shape is None:
            if len(self._shapes[1]) >= _SHAPES_MAX:
                self._shapes[1].clear()
            d = part.defaults
            shape = self._shapes[1][key] = BinaryShape(queue.name, d.max_attempts, d.backoff_ms, d.parent)
        return shape

    def _usual_of(self, queue: Queue, lone: Lone) -> tuple[Defaults, bytes]:
        """Found by identity: hashing the defaults takes longer than all else that is done for one job."""
        if len(self._usual) >= _SHAPES_MAX:
            self._usual.clear()
        usual = self._usual[queue.name] = lone.defaults, self.text_shape(queue, lone.parts[0]).one
        return usual

    def one(self, delivery: Delivery | Lone, codec: int) -> bytes:
        """The reply to a PULL that found a job."""
        if codec == 0 and type(delivery) is Lone:
            queue, token, at, job_id, payload, created, came_in, defaults = delivery
            if came_in:
                payload = transcoded(payload, came_in, codec)
            usual = self._usual.get(queue.name)
            if usual is None or usual[0] is not defaults:
                usual = self._usual_of(queue, delivery)
            return usual[1] % (job_id, payload, created, created, at, at, token)
        pieces = self._pieces(delivery, codec)
        if codec == Codec.TEXT:
            pieces[0] = pieces[0][1:]
            return b'{"ok":true,"job":' + b"".join(pieces) + b',"success":true}\n'
        return _BINARY_ONE + b"".join(pieces) + _BINARY_END

    def many(self, delivery: Delivery | Lone, codec: int) -> bytes:
        """The reply to a PULLB that found jobs."""
        pieces = self._pieces(delivery, codec)
        if codec == Codec.TEXT:
            pieces[0] = b'{"ok":true,"jobs":[' + pieces[0][1:]
            pieces.append(b'],"success":true}\n')
        else:
            pieces[0] = _BINARY_MANY + delivery.jobs.to_bytes(4, "big") + pieces[0]
            pieces.append(_BINARY_END)
        return b"".join(pieces)

    def _pieces(self, delivery: Delivery | Lone, codec: int) -> list[bytes]:
        at, token, queue = delivery.started_at, delivery.token, delivery.queue
        out: list[bytes] = []
        write = None
        for part in delivery.parts:
            if type(part) is not Part:
                assert isinstance(part, Job)
                usual = usual_record(part, codec)
                if usual is None:
                    view = view_of_record(part, codec)
                    view.lease = token
                    out.append(b"," + encode_text(view) if codec == Codec.TEXT else encode_binary(view))
                    continue
                if write is None:
                    write = (TextRecords if codec == Codec.TEXT else BinaryRecords)(queue.name, at, token).write
                out.append(write(usual))
                continue
            payloads = part.payloads
            if part.codec != codec:
                payloads = [transcoded(p, part.codec, codec) for p in payloads]
            if codec == Codec.TEXT:
                shape = self.text_shape(queue, part)
                out += plain_text(shape, part.ids, payloads, shape.after(part.created_at, at, token))
            else:
                binary = self.binary_shape(queue, part)
                out += plain_binary(binary, part.ids, payloads, binary.after(part.created_at, at, token))
        return out


def usual_record(job: Job, codec: int) -> Usual | None:
    """A record that has nothing but what such jobs usually have; None if it is another. Without its state."""
    o = job.options
    if job.progress or job.stalls or job.progress_msg is not None or job.link is not None:
        return None
    kind: object = type(o)
    # What came in a batch of common options has no others.
    if kind is not CommonEntry and (
        o.depends_on or o.lifo or o.remove_on_complete or o.remove_on_fail or o.stall_timeout
        or o.keep_completed_age or o.keep_completed_count or o.group_id is not None or o.trace is not None
    ):  # fmt: skip
        return None
    return (
        job.seq << 10 | job.queue.slot.no, job.data if job.codec == codec else transcoded(job.data, job.codec, codec),
        (job.priority, job.created_at, job.run_at, job.attempts, job.max_attempts, job.backoff, job.ttl, job.timeout),
        o.unique_key, o.tags, o.job_id,
    )  # fmt: skip


def view_of_record(job: Job, codec: int) -> JobView:
    """A record with all its keys."""
    o = job.options
    view = JobView(
        id=job.id, queue=job.queue.name, data=raw(job.data, job.codec, codec), priority=job.priority,
        created_at=job.created_at, run_at=job.run_at, started_at=job.started_at, attempts=job.attempts,
        max_attempts=job.max_attempts, backoff=job.backoff, ttl=job.ttl, timeout=job.timeout, unique_key=o.unique_key,
        depends_on=o.depends_on or [], progress=job.progress, progress_msg=job.progress_msg, tags=o.tags or [],
        lifo=bool(o.lifo), remove_on_complete=bool(o.remove_on_complete), remove_on_fail=bool(o.remove_on_fail),
        last_heartbeat=job.last_heartbeat, stall_timeout=o.stall_timeout or 0, stall_count=job.stalls,
        custom_id=o.job_id, keep_completed_age=o.keep_completed_age or 0,
        keep_completed_count=o.keep_completed_count or 0, group_id=o.group_id,
    )  # fmt: skip
    if o.trace is not None:
        view.trace = o.trace
    link = job.link
    if link is not None:
        view.parent_id = link.parent or None
        if link.children is not None:
            view.children_ids = link.children
            view.children_completed = len(link.children) - len(link.left or ())
    return view


def view_of_plain(page: Page, i: int, lease: Lease | None, codec: int) -> JobView:
    created = page.created_at(i)
    started = lease.started_at if lease is not None else 0
    return JobView(
        id=(page.base + i) << 10 | page.slot.no, queue=page.queue.name, data=raw(page.jobs[i], page.codec, codec),
        created_at=created, run_at=created, started_at=started, last_heartbeat=started,
        max_attempts=page.defaults.max_attempts, backoff=page.defaults.backoff_ms,
        parent_id=page.defaults.parent or None,
    )  # fmt: skip


def view_of(seen: Seen, codec: int) -> JobView:
    """A job as GETJOB shows it: with its state, and what came of it."""
    page, i = seen.page, seen.place
    job = page.jobs[i]
    view = view_of_record(job, codec) if type(job) is Job else view_of_plain(page, i, seen.lease, codec)
    if seen.done is not None:
        done = seen.done
        view.started_at = done.started_at
        view.completed_at = done.completed_at
        view.result = raw(done.result, done.codec, codec) if done.result is not None else None
        view.error = None
    elif seen.state is State.FAILED:
        view.completed_at = job.died_at
        view.result = None
        view.error = job.error
    if type(job) is Job and seen.state is State.FAILED:
        view.failed_at = job.died_at
        view.failures = job.failures or []
    view.state = WIRE[seen.state]
    return view
