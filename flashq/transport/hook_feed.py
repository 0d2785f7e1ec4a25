"""What shards and the sender of webhooks say to each other."""

from typing import Final

import msgspec
from msgspec import Struct

from flashq.protocol.happenings import Happening

SENDER: Final = "webhooks"
"""The sender's process."""
HOOKS_READY: Final = 19
"""Notice to the sender: it may take deliveries again from this shard."""


class Target(Struct, array_like=True, frozen=True):
    """A webhook, as far as the sender has to know it."""

    hook: int
    url: str
    secret: str


class Parcel(Struct, array_like=True, frozen=True):
    """A delivery in the sender's hands."""

    hook: int
    no: int
    attempts: int
    """Before this one."""
    happening: Happening


class Taken(Struct, array_like=True, frozen=True):
    """The answer to `hooks_take`."""

    targets: list[Target]
    """Of the webhooks in `parcels`."""
    parcels: list[Parcel]
    more: bool
    """There is more that may go now."""


def taken_of(value: object) -> Taken:
    """From an answer as it was decoded."""
    return msgspec.convert(value, Taken)
