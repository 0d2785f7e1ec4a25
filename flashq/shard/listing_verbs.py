"""GETJOBS and GETJOBSBATCH: many jobs in one reply, of one shard or of several.

Ids come first, jobs after: which jobs a reply has is settled by their ids alone, and each shard renders those of its
own. A reply stops before the first job that has no room. Without a shard that does not answer it is `partial`.
"""

from collections import defaultdict
from collections.abc import Callable
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from flashq.engine import queries
from flashq.engine.listing import newest, newest_of_all, state_filter, total
from flashq.errors import FlashqError, InvalidArgument, LimitExceeded
from flashq.protocol import commands as c
from flashq.protocol.slots import ID_MAX
from flashq.shard import internal
from flashq.shard.items import Items
from flashq.shard.verbs import Fields, Later, Request, Verb, by_queue

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
OFFSET_MAX: Final = 10_000
"""How far a listing of all queues goes: each shard sorts as many ids. Of one queue it goes as far as there are jobs."""


def _get_jobs(here: "ShardDispatcher", request: Request) -> Fields | None:
    command = request.command
    state = state_filter(command.state)
    limit = LIMIT if command.limit is None else min(command.limit, LIMIT_MAX)
    offset = command.offset or 0
    if command.queue is None:
        if offset > OFFSET_MAX:
            raise InvalidArgument(
                f"invalid value: `offset` is {offset}, at most {OFFSET_MAX} is allowed without `queue`"
            )
        _Newest(here, request, command.state, offset, limit).ask()
        return None
    owner = here.owner_of(by_queue(command))
    if owner != here.shard:
        here.elsewhere.forward(owner, request.link, request.frame, command)
        return None
    queue = here.engine.queues.get(command.queue)
    if queue is None:
        return {"jobs": [], "total": 0}
    ids = list(islice(newest(queue, state, offset), limit))
    items = Items(request.codec, here.engine.limits.reply_bytes_max, nested=True)
    _render(here, items, ids)
    return {"jobs": items.rendered, "total": total(queue, state)}


def _get_jobs_batch(here: "ShardDispatcher", request: Request) -> Fields | None:
    ids = request.command.ids
    most = here.engine.limits.max_batch
    if len(ids) > most:
        raise LimitExceeded(f"Batch too large ({len(ids)} ids, max {most})")
    for k, job_id in enumerate(ids):
        if job_id > ID_MAX:
            raise InvalidArgument(f"invalid value: `ids[{k}]` is {job_id}, ids are below 2^53")
    owns = here.engine.owns
    if all(owns[job_id & 1023] for job_id in ids):
        items = Items(request.codec, here.engine.limits.reply_bytes_max)
        _render(here, items, ids)
        return {"jobs": items.rendered}
    later = request.hold()
    _Jobs(here, ids, request.codec, False, lambda jobs, partial: _say(later, {"jobs": jobs}, partial)).ask()
    return None


def _say(later: Later, fields: dict[str, Any], partial: bool) -> None:
    later.reply({**fields, "partial": True} if partial else fields)


def _render(here: "ShardDispatcher", items: Items, ids: list[int]) -> list[int]:
    """Add these jobs until one has no room; the length of each, 0 where nothing is kept of a job."""
    sizes = []
    for job_id in ids:
        seen = queries.find(here.engine, job_id)
        if seen is None:
            sizes.append(0)
        elif items.add(seen):
            sizes.append(len(bytes(items.rendered[-1])))
        else:
            break
    return sizes


class _Asking:
    """A question to several shards at once."""

    def __init__(self, here: "ShardDispatcher") -> None:
        self.here = here
        self.left = 0
        self.partial = False

    def ask_all(self, word: str, questions: dict[int, Any], came: Callable[[int, Any], None]) -> None:
        """`came(shard, answer)` for each that answers, then `done`."""
        self.left = len(questions)
        if not questions:
            self.done()
        for shard, value in questions.items():
            internal.ask(
                self.here, shard, word, value,
                lambda answer, shard=shard: self._came(shard, answer, came),  # type: ignore[misc]
                self._failed,
            )  # fmt: skip

    def _came(self, shard: int, answer: Any, came: Callable[[int, Any], None]) -> None:
        came(shard, answer)
        self._heard()

    def _failed(self, error: FlashqError) -> None:
        self.partial = True
        self._heard()

    def _heard(self) -> None:
        self.left -= 1
        if not self.left:
            self.done()

    def done(self) -> None:
        raise NotImplementedError


class _Newest(_Asking):
    """GETJOBS over all queues."""

    def __init__(self, here: "ShardDispatcher", request: Request, state: str | None, offset: int, limit: int) -> None:
        super().__init__(here)
        self._later = request.hold()
        self._codec = request.codec
        self._state = state
        self._offset = offset
        self._limit = limit
        self._total = 0
        self._ids: list[list[int]] = []

    def ask(self) -> None:
        question = (self._state, self._offset + self._limit)
        self.ask_all("newest", dict.fromkeys(range(self.here.shards), question), self._take)

    def _take(self, shard: int, answer: Any) -> None:
        count, ids = answer
        self._total += count
        self._ids.append(ids)

    def done(self) -> None:
        ids = list(islice(merge(*self._ids, reverse=True), self._offset, self._offset + self._limit))
        _Jobs(self.here, ids, self._codec, True, self._show).ask()

    def _show(self, jobs: list[Any], partial: bool) -> None:
        _say(self._later, {"jobs": jobs, "total": self._total}, partial or self.partial)


class _Jobs(_Asking):
    """Jobs by their ids, in order, from wherever they are."""

    def __init__(
        self, here: "ShardDispatcher", ids: list[int], codec: int, nested: bool, show: Callable[[list[Any], bool], None]
    ) -> None:  # fmt: skip
        super().__init__(here)
        self._ids = ids
        self._codec = codec
        self._nested = nested
        self._show = show
        self._places: dict[int, list[int]] = defaultdict(list)
        """Shard -> which of `ids` are its own."""
        self._found: dict[int, bytes] = {}
        self._cut = len(ids)
        """The first of `ids` that a shard had no room for."""

    def ask(self) -> None:
        for k, job_id in enumerate(self._ids):
            self._places[self.here.owner_of(job_id & 1023)].append(k)
        questions = {
            shard: ([self._ids[k] for k in places], self._codec, self._nested)
            for shard, places in self._places.items()
        }  # fmt: skip
        self.ask_all("jobs", questions, self._take)

    def _take(self, shard: int, answer: Any) -> None:
        sizes, bodies = answer
        places = self._places[shard]
        at = 0
        for k, size in zip(places, sizes, strict=False):
            if size:
                self._found[k] = bodies[at : at + size]
                at += size
        if len(sizes) < len(places):
            self._cut = min(self._cut, places[len(sizes)])

    def done(self) -> None:
        items = Items(self._codec, self.here.engine.limits.reply_bytes_max)
        for k in range(self._cut):
            body = self._found.get(k)
            if body is not None and not items.put(body):
                break
        self._show(items.rendered, self.partial)


def _newest_here(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    name, count = value
    return newest_of_all(here.engine, state_filter(name), count)


def _jobs_here(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    ids, codec, nested = value
    items = Items(codec, here.engine.limits.reply_bytes_max, nested=nested)
    sizes = _render(here, items, ids)
    return sizes, b"".join(bytes(body) for body in items.rendered)


internal.WORDS["newest"] = _newest_here
internal.WORDS["jobs"] = _jobs_here
VERBS: Final[dict[type[Any], Verb]] = {
    c.GetJobs: Verb(_get_jobs),
    c.GetJobsBatch: Verb(_get_jobs_batch),
}
