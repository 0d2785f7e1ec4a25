"""What shards ask each other on their own account, never a client: a word and a MessagePack value, answered by one.

`WORDS` maps a word to what carries it out; families register theirs. A function returns its answer, or raises a
FlashqError, which the asker gets as such; for an answer that comes later it takes `Answer` and returns NOT_YET.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.errors import FlashqError, MalformedFrame, Unavailable
from flashq.protocol.dispatch import Ticket
from flashq.shard.gathering import Refused
from flashq.transport.envelope import Failure

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

NOT_YET: Final = object()
Word = Callable[["ShardDispatcher", Any, "Answer"], Any]
WORDS: Final[dict[str, Word]] = {}
AT_ONCE: Final = frozenset(("post", "slot-part", "slot-here"))
"""Words that do not wait while a slot is on its way: they bring it there, or are refused where they concern it."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_question: Final = msgspec.msgpack.Decoder(tuple[str, Any]).decode
_decode_answer: Final = msgspec.msgpack.Decoder(tuple[bool, Any, str]).decode


class Answer:
    """The way back to a shard that asked. Also used as its own answer to itself."""

    __slots__ = ("_send",)

    def __init__(self, send: Callable[[bytes], Any]) -> None:
        self._send = send

    def give(self, value: Any) -> None:
        self._send(_encode((True, value, "")))

    def refuse(self, error: FlashqError) -> None:
        self._send(_encode((False, str(error), str(error.code))))


def ask(
    here: "ShardDispatcher", shard: int, word: str, value: Any, on_answer: Callable[[Any], Any],
    on_fail: Callable[[FlashqError], Any],
) -> None:  # fmt: skip
    """Ask a shard, which may be this one (then the answer may come before this returns).

    `on_fail`: it refused, or it is unavailable. What it did it has on disk when the answer comes.
    """

    def came(body: bytes) -> None:
        here.wake()
        ok, answer, code = _decode_answer(body)
        if ok:
            on_answer(answer)
        else:
            on_fail(Refused(answer, code))

    def failed(failure: Failure) -> None:
        here.wake()
        on_fail(Unavailable(f"Shard {shard} is unavailable"))

    if shard == here.shard:
        _carry_out(here, word, value, Answer(came))
    else:
        here.elsewhere.ask_shard(shard, _encode((word, value)), came, failed)


def answer(here: "ShardDispatcher", frame: bytes, held: Ticket) -> None:
    """A question of another shard has come."""
    try:
        word, value = _decode_question(frame)
    except msgspec.MsgspecError as e:
        Answer(held.reply).refuse(MalformedFrame(f"no question: {e}"))
        return
    _carry_out(here, word, value, Answer(held.reply))


def _carry_out(here: "ShardDispatcher", word: str, value: Any, way: Answer) -> None:
    if here.questions_wait is not None and word not in AT_ONCE:
        here.questions_wait(lambda: _carry_out(here, word, value, way))
        return
    carry_out = WORDS.get(word)
    if carry_out is None:
        way.refuse(MalformedFrame(f"unknown word {word!r} between shards"))
        return
    try:
        result = carry_out(here, value, way)
    except FlashqError as e:
        way.refuse(e)
        return
    if result is not NOT_YET:
        way.give(result)
