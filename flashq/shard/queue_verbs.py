"""Commands about whole queues: dead letters, removal, counts."""

from typing import TYPE_CHECKING, Any, Final

from flashq.engine import dead_letters, removal
from flashq.engine.cleaning import Cleaning, state_to_clean
from flashq.engine.counts import counts
from flashq.engine.queries import seen_at
from flashq.engine.slices import carry_on
from flashq.engine.validation import check_duration
from flashq.protocol import commands as c
from flashq.shard.items import Items
from flashq.shard.verbs import Fields, Request, Verb, by_queue

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

DEAD_LETTERS_SHOWN: Final = 100


def _dead_letters(here: "ShardDispatcher", request: Request) -> Fields:
    """The oldest `count` dead letters, or as many as the reply has room for."""
    command, engine = request.command, here.engine
    items = Items(request.codec, engine.limits.reply_bytes_max)
    queue = engine.queues.get(command.queue)
    left = DEAD_LETTERS_SHOWN if command.count is None else command.count
    if queue is not None and left:
        for page, i in dead_letters.oldest(queue):
            if not items.add(seen_at(engine, page, i)):
                break
            left -= 1
            if not left:
                break
    return {"jobs": items.rendered}


def _retry_dead_letters(here: "ShardDispatcher", request: Request) -> Fields | None:
    command, engine = request.command, here.engine
    if command.id is not None:
        return _retried(dead_letters.retry_one(engine, command.queue, command.id))
    queue = engine.queues.get(command.queue)
    if queue is None:
        return _retried(0)
    work = dead_letters.Retrying(queue)
    if carry_on(engine, work):
        return _retried(work.count)
    later = request.hold()
    work.on_done = lambda n: later.reply(_retried(n))
    return None


def _retried(n: int) -> dict[str, Any]:
    return {"ids": [n], "count": n}


def _purge_dead_letters(here: "ShardDispatcher", request: Request) -> Fields:
    return {"count": removal.purge_dead(here.engine, request.command.queue)}


def _drain(here: "ShardDispatcher", request: Request) -> Fields:
    return {"count": removal.drain(here.engine, request.command.queue)}


def _obliterate(here: "ShardDispatcher", request: Request) -> Fields:
    return {"count": removal.obliterate(here.engine, request.command.queue)}


def _clean(here: "ShardDispatcher", request: Request) -> Fields | None:
    command, engine = request.command, here.engine
    state = state_to_clean(command.state)
    check_duration(engine.limits, "grace", command.grace)
    queue = engine.queues.get(command.queue)
    if queue is None:
        return {"count": 0}
    work = Cleaning(engine, queue, state, command.grace, command.limit or 0)
    if carry_on(engine, work):
        return {"count": work.count}
    later = request.hold()
    work.on_done = lambda n: later.reply({"count": n})
    return None


def _is_paused(here: "ShardDispatcher", request: Request) -> Fields:
    queue = here.engine.queues.get(request.command.queue)
    return {"paused": queue is not None and queue.paused}


def _job_counts(here: "ShardDispatcher", request: Request) -> Fields:
    found = counts(here.engine, request.command.queue)
    return {**found, "counts": found}


def _metrics(here: "ShardDispatcher", request: Request) -> Fields:
    here.publish()
    return {"metrics": here.totals.metrics()}


VERBS: Final[dict[type[Any], Verb]] = {
    c.DeadLetters: Verb(_dead_letters, by_queue),
    c.RetryDeadLetters: Verb(_retry_dead_letters, by_queue, keyed=True),
    c.PurgeDeadLetters: Verb(_purge_dead_letters, by_queue, keyed=True),
    c.Drain: Verb(_drain, by_queue, keyed=True),
    c.Obliterate: Verb(_obliterate, by_queue, keyed=True),
    c.Clean: Verb(_clean, by_queue, keyed=True),
    c.IsPaused: Verb(_is_paused, by_queue),
    c.GetJobCounts: Verb(_job_counts, by_queue),
    c.Metrics: Verb(_metrics),
}
