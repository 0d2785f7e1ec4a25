"""Slots: where a queue, a job or a name lives. Stable, documented, and independent of the number of shards.

A queue hashes to one of 1024 slots by the CRC-32 (zlib's polynomial) of its UTF-8 name; a job's id is
`sequence * 1024 + slot`, so that an id alone says where its job is.
"""

from typing import Final
from zlib import crc32

SLOTS: Final = 1024
ID_MAX: Final = (1 << 53) - 1
"""Ids stay exact in a double, which is what JavaScript and Go read JSON numbers as."""


def slot_of_queue(name: str) -> int:
    """The slot of a queue, custom id, cron or key: CRC-32 of its UTF-8 name, modulo 1024."""
    return crc32(name.encode("utf-8", "surrogatepass")) % SLOTS


def job_id(sequence: int, slot: int) -> int:
    """The id of the `sequence`-th job of a slot (from 1)."""
    return sequence * SLOTS + slot
