"""Commands that concern several shards: each is asked for its part, and the parts are put together.

A part is the command as it came, or a smaller one, flagged so that its receiver answers for itself alone
(`Request.local`). Reads answer what there is: a shard that does not answer leaves `"partial": true` in the reply.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from flashq.errors import FlashqError, RequestError, Unavailable
from flashq.protocol import replies
from flashq.protocol.dispatch import Codec
from flashq.shard.verbs import Fields, Later, Request
from flashq.transport.envelope import Failure

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

_fields_text: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_fields_binary: Final = msgspec.msgpack.Decoder(dict[str, Raw]).decode


class Part(NamedTuple):
    """What one shard said."""

    shard: int
    codec: int
    fields: dict[str, Raw]
    """The keys of its reply, still encoded; without `ok` and `success`."""

    def get(self, key: str, kind: Any, default: Any = None) -> Any:
        """A key's value, decoded as `kind`."""
        if key not in self.fields:
            return default
        decode = msgspec.json.decode if self.codec == Codec.TEXT else msgspec.msgpack.decode
        return decode(self.fields[key], type=kind)


Merge = Callable[[list[Part], list[int]], Fields]
"""(parts in the order of shards, shards that did not answer) -> the fields of the whole reply.

Raises a FlashqError to refuse the whole.
"""


def everywhere(here: "ShardDispatcher", request: Request, mine: Callable[[], Fields], merge: Merge) -> None:
    """Ask every shard the same; `mine()` is this shard's part."""
    gather(here, request, dict.fromkeys(range(here.shards)), mine, merge)


def gather(
    here: "ShardDispatcher", request: Request, parts: Mapping[int, Fields | None], mine: Callable[[], Fields],
    merge: Merge,
) -> None:  # fmt: skip
    """Ask shards for their parts. `parts`: shard -> the command to send it, None for the same as came.

    This shard's own part, if it is among them, is `mine()`; what that raises is the answer.
    """
    gathering = _Gathering(request.hold(), request.codec, merge, parts.keys())
    encode = replies.encode_text if request.codec == Codec.TEXT else replies.encode_binary
    if here.shard in parts:
        try:
            gathering.came(here.shard, replies.ok(request.codec, mine()))
        except FlashqError as e:
            gathering.later.refuse(e)
            return
    for shard, command in parts.items():
        if shard == here.shard:
            continue
        frame = request.frame if command is None else encode(command)
        here.elsewhere.ask_part(
            shard, request.link, frame,
            lambda body, shard=shard: gathering.came(shard, body),  # type: ignore[misc]
            lambda failure, shard=shard: gathering.failed(shard, failure),  # type: ignore[misc]
        )  # fmt: skip


class _Gathering:
    def __init__(self, later: Later, codec: int, merge: Merge, shards: Iterable[int]) -> None:
        self.later = later
        self._codec = codec
        self._merge = merge
        self._left = set(shards)
        self._parts: list[Part] = []
        self._silent: list[int] = []
        self._refused: FlashqError | None = None
        if not self._left:
            self._finish()

    def came(self, shard: int, body: bytes) -> None:
        fields = (_fields_text if self._codec == Codec.TEXT else _fields_binary)(body)
        part = Part(shard, self._codec, fields)
        if not part.get("ok", bool, default=False):
            self._refused = Refused(part.get("error", str, ""), part.get("code", str, "internal"))
        for key in ("ok", "success"):
            fields.pop(key, None)
        self._parts.append(part)
        self._heard(shard)

    def failed(self, shard: int, failure: Failure) -> None:
        self._silent.append(shard)
        self._heard(shard)

    def _heard(self, shard: int) -> None:
        self._left.discard(shard)
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        if self._refused is not None:
            self.later.refuse(self._refused)
            return
        self._parts.sort(key=lambda part: part.shard)
        try:
            fields = dict(self._merge(self._parts, sorted(self._silent)))
        except FlashqError as e:
            self.later.refuse(e)
            return
        if self._silent:
            fields.setdefault("partial", True)
        self.later.reply(fields)


class Refused(RequestError):
    """What another shard refused, with its own code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code  # type: ignore[misc]


def all_or_unavailable(silent: list[int]) -> None:
    """Raise Unavailable if a shard did not answer: for what must not be done by halves."""
    if silent:
        raise Unavailable(f"Shard {silent[0]} is unavailable")
