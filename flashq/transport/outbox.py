"""What waits to leave for one peer, and its packing into as few messages as the bounds allow."""

from collections import deque
from typing import Final

from flashq.transport.envelope import APART, APART_BYTES_MIN, BATCH_BYTES_MAX, HEAD, MAGIC, PARTS_MAX, VERSION

Item = tuple[int, bytes, bytes]
"""Correlation (0: none), the item's fixed fields, its body."""
Message = list[bytes]
"""The parts of one ZeroMQ message."""

_HEAD: Final = HEAD.pack


class Outbox:
    """Items of this tick, and messages that the socket would not take yet, each with the items in it."""

    __slots__ = ("items", "messages")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.messages: deque[tuple[Message, list[Item]]] = deque()

    def seal(self, epoch: int, receiver_epoch: int, taken: int) -> None:
        """Pack all items into messages: one, unless they are very large or very many large ones. None: a bare head."""
        items, self.items = self.items, []
        pieces: list[bytes] = [b""]
        apart: Message = []
        size = start = 0
        for index, (_, head, body) in enumerate(items):
            length = len(body)
            pieces.append(head)
            if length < APART_BYTES_MIN:
                pieces.append(body)
                size += length
            else:
                apart.append(body)
            size += len(head)
            if size > BATCH_BYTES_MAX or len(apart) == PARTS_MAX:
                pieces[0] = _HEAD(MAGIC, VERSION, len(apart), epoch, receiver_epoch, taken)
                self.messages.append(([b"".join(pieces), *apart], items[start : index + 1]))
                pieces, apart, size, start = [b""], [], 0, index + 1
        if start < len(items) or not items:
            pieces[0] = _HEAD(MAGIC, VERSION, len(apart), epoch, receiver_epoch, taken)
            self.messages.append(([b"".join(pieces), *apart], items[start:] if start else items))

    def backlog_bytes(self) -> int:
        """What the socket would not take."""
        return sum(len(part) for message, _ in self.messages for part in message)

    def take_all(self) -> list[Item]:
        """Every item that has not left, taken out."""
        items = [item for _, packed in self.messages for item in packed] + self.items
        self.messages.clear()
        self.items = []
        return items


def sized(body: bytes) -> int:
    """How an item states the length of its body."""
    length = len(body)
    return length if length < APART_BYTES_MIN else APART
