"""Pushes that depend on jobs of other shards, and flows: answered when all shards have answered."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flashq.engine.drafts import Draft
from flashq.engine.engine import Engine
from flashq.engine.flows import push_depending
from flashq.engine.links import UNKNOWN
from flashq.engine.push import Pushed
from flashq.engine.queues import Queue
from flashq.engine.watching import fate_of, unknown_dependency
from flashq.errors import FlashqError
from flashq.protocol.commands import JobOptions
from flashq.shard.internal import WORDS, Answer, ask
from flashq.shard.verbs import Fields, Later, Request

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

Entries = Sequence[tuple[JobOptions, bytes]]
KNOWN = "known-jobs"
"""[ids] -> those of them that never were a job's."""


def depends_elsewhere(engine: Engine, entries: Entries) -> bool:
    """Whether one of these jobs depends on a job of another shard."""
    owns = engine.owns
    return any(o.depends_on and not all(owns[other & 1023] for other in o.depends_on) for o, _ in entries)


def answer(here: "ShardDispatcher", request: Request, draft: Draft, fields: Callable[[], Fields]) -> None:
    """Answer when the draft is decided. What its connection sends meanwhile takes effect after it.

    Raises why it was refused, if that is known at once.
    """
    if draft.decided:
        if draft.error is not None:
            raise draft.error
        request.reply(fields())
        return
    later, gid = request.hold(), request.link.gid
    here.gates.close(gid)
    draft.done = lambda: _end(here, later, gid, draft, fields)


def _end(here: "ShardDispatcher", later: Later, gid: int, draft: Draft, fields: Callable[[], Fields]) -> None:
    if draft.error is not None:
        later.refuse(draft.error)
        here.gates.open(gid)
        return

    def when_told(send: Callable[[], object]) -> None:
        def told() -> None:
            send()
            here.gates.open(gid)

        here.when_told(draft.root & 1023, draft.slots, told)

    # A job of another shard is there for other commands when that has heard of the decision.
    later.reply_when(fields(), when_told)


def push(
    here: "ShardDispatcher", request: Request, queue: Queue, entries: Entries, shown: Callable[[Pushed], dict[str, Any]]
) -> None:  # fmt: skip
    """Store well-formed jobs without names. Raises a FlashqError, with nothing stored, where that is the answer."""
    draft, refused = push_depending(here.engine, queue, request.codec, entries)
    if draft is None:
        request.reply(shown(Pushed([], refused)))
        return
    answer(here, request, draft, lambda: shown(Pushed(draft.member_ids(), refused)))


class KnownFirst:
    """Asks other shards whether they know what jobs depend on: for jobs that have names, which are no drafts.

    Nothing is stored yet. What was known stays known, so that the jobs may then be stored in their own slot alone;
    watches reach the others through the outbox.
    """

    def __init__(self, here: "ShardDispatcher", entries: Entries, on_end: Callable[[FlashqError | None], None]) -> None:
        self._entries = entries
        self._on_end = on_end
        self._error: FlashqError | None = None
        by_shard: dict[int, set[int]] = {}
        for options, _ in entries:
            for other in options.depends_on or ():
                if not here.engine.owns[other & 1023]:
                    by_shard.setdefault(here.owner_of(other & 1023), set()).add(other)
        self._open = len(by_shard)
        for shard, ids in by_shard.items():
            ask(here, shard, KNOWN, sorted(ids), self._came, self._failed)

    def _came(self, unknown: list[int]) -> None:
        if unknown:
            strangers = set(unknown)
            place, other = next(
                (k, other) for k, (o, _) in enumerate(self._entries) for other in o.depends_on or ()
                if other in strangers
            )  # fmt: skip
            self._error = unknown_dependency(other, f"jobs[{place}]: " if len(self._entries) > 1 else "")
        self._heard()

    def _failed(self, error: FlashqError) -> None:
        self._error = error
        self._heard()

    def _heard(self) -> None:
        self._open -= 1
        if not self._open:
            self._on_end(self._error)


def _known(here: "ShardDispatcher", ids: Any, way: Answer) -> list[int]:
    return [job_id for job_id in ids if fate_of(here.engine, job_id) == UNKNOWN]


WORDS[KNOWN] = _known
