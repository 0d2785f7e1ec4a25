"""KVKEYS: the keys of a pattern, on all shards, looked for in slices so that nobody waits for it.

A listing of more than `reply_bytes_max` bytes is refused rather than cut short in silence.
"""

from typing import TYPE_CHECKING, Any, Final

from flashq.engine import kv
from flashq.errors import FlashqError, LimitExceeded, Unavailable
from flashq.protocol.globs import Glob
from flashq.shard import internal
from flashq.shard.verbs import Later, Request

if TYPE_CHECKING:
    from flashq.engine.engine import Engine
    from flashq.shard.dispatcher import ShardDispatcher

PATTERN_BYTES_MAX: Final = 1024
SLICE: Final = 20_000
"""Work of one go, about a millisecond: a key is 8 at least, and its length times the pattern's cost over 64."""


def find_keys(here: "ShardDispatcher", request: Request) -> None:
    """KVKEYS."""
    pattern = request.command.pattern
    pattern = "*" if pattern is None else pattern
    size = len(pattern.encode("utf-8", "surrogatepass"))
    if size > PATTERN_BYTES_MAX:
        raise LimitExceeded(f"`pattern` too long ({size} bytes, max {PATTERN_BYTES_MAX} bytes)")
    _Listing(here, request.hold(), pattern)


class _Listing:
    """One answer, put together from those of all shards."""

    def __init__(self, here: "ShardDispatcher", later: Later, pattern: str) -> None:
        self._later = later
        self._bound = here.engine.limits.reply_bytes_max
        self._left = here.shards
        self._keys: list[str] = []
        self._partial = False
        self._refused: FlashqError | None = None
        for shard in range(here.shards):
            internal.ask(here, shard, "kv_keys", pattern, self._came, self._failed)

    def _came(self, keys: list[str]) -> None:
        self._keys += keys
        self._heard()

    def _failed(self, error: FlashqError) -> None:
        if isinstance(error, Unavailable):
            self._partial = True
        else:
            self._refused = error
        self._heard()

    def _heard(self) -> None:
        self._left -= 1
        if self._left:
            return
        if self._refused is None and sum(map(_size, self._keys)) > self._bound:
            self._refused = _too_many(self._bound)
        if self._refused is not None:
            self._later.refuse(self._refused)
            return
        self._later.reply({"keys": self._keys, "partial": True} if self._partial else {"keys": self._keys})


class _Search:
    """The keys of this shard, a slice of them a go."""

    def __init__(self, pattern: str, keys: list[str], way: internal.Answer) -> None:
        self._glob = Glob(pattern)
        self._keys = keys
        self._at = 0
        self._found: list[str] = []
        self._bytes = 0
        self._way = way

    def go_on(self, engine: "Engine") -> None:
        bound = engine.limits.reply_bytes_max
        keys, matches, cost = self._keys, self._glob.matches, self._glob.cost
        spent, at = 0, self._at
        while at < len(keys):
            key = keys[at]
            spent += 8 + (len(key) * cost >> 6)
            if matches(key) and kv.find(engine, key) is not None:
                self._found.append(key)
                self._bytes += _size(key)
                if self._bytes > bound:
                    self._way.refuse(_too_many(bound))
                    return
            at += 1
            if spent > SLICE:
                break
        self._at = at
        if at < len(keys):
            engine.mono_timers.add(engine.mono_ms, _go_on, self)
        else:
            self._way.give(self._found)


def _go_on(engine: "Engine", search: _Search) -> None:
    search.go_on(engine)


def _size(key: str) -> int:
    return len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))


def _too_many(bound: int) -> LimitExceeded:
    return LimitExceeded(f"Too many keys match `pattern` (more than {bound} bytes of them): ask for fewer")


def _search(here: "ShardDispatcher", pattern: Any, way: internal.Answer) -> Any:
    _Search(pattern, list(here.engine.kv.entries), way).go_on(here.engine)
    return internal.NOT_YET


internal.WORDS["kv_keys"] = _search
