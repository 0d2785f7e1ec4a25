"""Replies to idempotency keys: the same key within its window gets the first reply again, and nothing is done.

The scope of a key is who sent it, the command and the queue (or the job's id). The same key with another body is an
error. Bounded in number and bytes; the oldest go first, and are counted.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from flashq.engine import events
from flashq.engine.settings import Limits
from flashq.errors import InvalidArgument

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


class Answer(NamedTuple):
    """What the first request with a key was, and what it was told."""

    digest: bytes
    reply: bytes
    until_ms: int
    slot: int
    """Of what it was about: the key goes where that goes."""


_OVERHEAD = 300
"""Bytes an entry costs beside its strings."""


class Answers:
    """Keys of the last minutes, oldest first."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._bytes = 0
        self.evicted_early = 0
        """Keys that went before their time, for want of room."""

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, scope: str, key: str, digest: bytes, now_ms: int) -> bytes | None:
        """The first reply, if the key was used in its window. Raises InvalidArgument if for another body."""
        answer = self._by_key.get((scope, key))
        if answer is None or answer.until_ms <= now_ms:
            return None
        if answer.digest != digest:
            raise InvalidArgument(f"invalid value: `idempotency_key` '{key[:64]}' was used for another request")
        return answer.reply

    def keep(
        self, limits: Limits, scope: str, key: str, digest: bytes, reply: bytes, at_ms: int, slot: int
    ) -> None:  # fmt: skip
        """Remember a reply; forget what is too old or too much."""
        self._drop(scope, key)
        self._by_key[scope, key] = Answer(digest, reply, at_ms + limits.idempotency_window_ms, slot)
        self._bytes += len(scope) + len(key) + len(reply) + _OVERHEAD
        while self._by_key:
            (old_scope, old_key), oldest = next(iter(self._by_key.items()))
            full = len(self._by_key) > limits.idempotency_keys_max or self._bytes > limits.idempotency_bytes_max
            if oldest.until_ms > at_ms and not full:
                break
            if oldest.until_ms > at_ms:
                self.evicted_early += 1
            self._drop(old_scope, old_key)

    def of_slot(self, slot: int) -> list[tuple[str, str, Answer]]:
        """(scope, key, answer) of all that belong to a slot, oldest first. Linear in all there are."""
        return [(scope, key, one) for (scope, key), one in self._by_key.items() if one.slot == slot]

    def _drop(self, scope: str, key: str) -> None:
        old = self._by_key.pop((scope, key), None)
        if old is not None:
            self._bytes -= len(scope) + len(key) + len(old.reply) + _OVERHEAD


def digest_of(parts: tuple[bytes, ...]) -> bytes:
    """A short digest of what a request asks for, without its `reqId`."""
    h = blake2b(digest_size=16)
    for part in parts:
        h.update(len(part).to_bytes(8, "little"))
        h.update(part)
    return h.digest()


def remember(engine: "Engine", scope: str, key: str, digest: bytes, reply: bytes, slot: int) -> None:
    """The reply belongs to the key from now on, across restarts."""
    engine.answers.keep(engine.limits, scope, key, digest, reply, engine.now_ms, slot)
    engine.record(events.Answered(scope, key, digest, reply, slot))
