"""Jobs in a listing, rendered one by one until the reply has no room for more."""

from typing import Final

from msgspec import Raw

from flashq.engine.queries import Seen
from flashq.protocol.dispatch import Codec
from flashq.protocol.jobs import encode_binary, encode_text
from flashq.shard.rendering import view_of

_JOB_TEXT: Final = b',"job":'
_JOB_BINARY: Final = b"\xa3job"


class Items:
    """Rendered jobs. The first always fits."""

    __slots__ = ("_codec", "_nested", "_room", "rendered")

    def __init__(self, codec: int, bytes_max: int, *, nested: bool = False) -> None:
        self._codec = codec
        self._room = bytes_max
        self._nested = nested
        """Whether each item has the job once more under its key `job`, as some clients want it."""
        self.rendered: list[Raw] = []

    def add(self, seen: Seen) -> bool:
        """Add a job. False, and nothing added, if it does not fit."""
        view = view_of(seen, self._codec)
        body = encode_text(view) if self._codec == Codec.TEXT else encode_binary(view)
        return (
            self.put(nested_text(body) if self._codec == Codec.TEXT else nested_binary(body))
            if self._nested
            else (self.put(body))
        )

    def put(self, body: bytes) -> bool:
        """Add a rendered job. False, and nothing added, if it does not fit."""
        if len(body) > self._room and self.rendered:
            return False
        self._room -= len(body)
        self.rendered.append(Raw(body))
        return True


def nested_text(body: bytes) -> bytes:
    """A job's JSON object with itself, as it was, under the key `job`."""
    return body[:-1] + _JOB_TEXT + body + b"}"


def nested_binary(body: bytes) -> bytes:
    """The same in MessagePack: a job has more than 15 keys, so its head is that of a map of 16 bits."""
    assert body[0] == 0xDE
    keys = int.from_bytes(body[1:3], "big") + 1
    return b"\xde" + keys.to_bytes(2, "big") + body[3:] + _JOB_BINARY + body
