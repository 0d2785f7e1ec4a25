"""What crons make: jobs without a custom id, pushed in the slot of their queue.

Each run is pushed as a client's PUSH is, under the same rules. One that is refused (its unique key is held, it is
debounced, there are too many queues) makes no job: that is what its options ask for, and there is no client to tell.
"""

from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError

from flashq.engine import named_runs as named_runs  # carries out the others
from flashq.engine.outbox import HANDLERS
from flashq.engine.push import push_jobs, push_plain
from flashq.errors import FlashqError
from flashq.protocol import commands as c
from flashq.protocol.codec import payload_of
from flashq.protocol.dispatch import Codec

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


def _fire(engine: "Engine", source: int, target: int, body: Any) -> None:
    """A cron ran: a job for each of its runs."""
    runs, codec, frame = body
    for _ in runs:
        try:
            _push(engine, codec, frame)
        except FlashqError:
            continue  # refused, with nothing changed


def _push(engine: "Engine", codec: int, frame: bytes) -> None:
    try:
        command = c.fast_text(frame) if codec == Codec.TEXT else c.fast_binary(frame)
    except MsgspecError:  # it has options
        command = None
    if type(command) is not c.PlainPush or engine.defaults.ttl_ms or engine.defaults.timeout_ms:
        command = c.FULL[Codec(codec)](frame)
        assert type(command) is c.Push, "a cron's frame is a PUSH"
        payload = payload_of(command.data, codec)
        command.data = c.NULL
        push_jobs(engine, engine.queue(command.queue), codec, [(command, payload)], frame)
        return
    queue = engine.queue(command.queue)
    push_plain(engine, queue, codec, payload_of(command.data, codec), frame)


HANDLERS["fire"] = _fire
