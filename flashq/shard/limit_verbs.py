"""RATELIMIT, RATELIMITCLEAR, SETCONCURRENCY, CLEARCONCURRENCY."""

from typing import TYPE_CHECKING, Any, Final

from flashq.engine.limits import CONCURRENCY, KEY_CONCURRENCY, KEY_RATE, RATE, set_limit
from flashq.engine.validation import check_queue_name
from flashq.protocol import commands as c
from flashq.shard.verbs import Do, Fields, Request, Verb, by_queue

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


def _set(kind: int, kind_per_key: int) -> Do:
    def do(here: "ShardDispatcher", request: Request) -> Fields:
        command = request.command
        check_queue_name(command.queue)
        set_limit(here.engine, command.queue, kind_per_key if command.per_key else kind, command.limit)
        return {}

    return do


def _clear(kind: int, kind_per_key: int) -> Do:
    def do(here: "ShardDispatcher", request: Request) -> Fields:
        command = request.command
        set_limit(here.engine, command.queue, kind_per_key if command.per_key else kind, None)
        return {}

    return do


VERBS: Final[dict[type[Any], Verb]] = {
    c.RateLimit: Verb(_set(RATE, KEY_RATE), by_queue, keyed=True),
    c.RateLimitClear: Verb(_clear(RATE, KEY_RATE), by_queue, keyed=True),
    c.SetConcurrency: Verb(_set(CONCURRENCY, KEY_CONCURRENCY), by_queue, keyed=True),
    c.ClearConcurrency: Verb(_clear(CONCURRENCY, KEY_CONCURRENCY), by_queue, keyed=True),
}
