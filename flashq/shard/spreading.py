"""What slot 0 decides for the whole cluster, until every shard knows it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flashq.protocol.slots import SLOTS
from flashq.shard import internal

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


def other_slots(here: "ShardDispatcher") -> Iterator[int]:
    """A slot of each other shard."""
    seen = {here.shard}
    for slot in range(SLOTS):
        owner = here.owner_of(slot)
        if owner not in seen:
            seen.add(owner)
            yield slot


def when_known(here: "ShardDispatcher", version: int, done: Callable[[], Any]) -> None:
    """Call `done` when all other shards know of this version; one that cannot be asked learns of it when it is back."""
    left = {here.owner_of(slot) for slot in other_slots(here)}

    def heard(shard: int) -> None:
        left.discard(shard)
        if not left:
            done()

    if not left:
        done()
    for shard in list(left):
        internal.ask(
            here, shard, "hooks_at", version, lambda _, shard=shard: heard(shard),  # type: ignore[misc]
            lambda error, shard=shard: heard(shard),  # type: ignore[misc]
        )  # fmt: skip
