"""What this shard says about webhooks to other processes: deliveries to the sender, and to shards what it knows."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flashq.engine.hook_deliveries import has_ready, hold_only, take
from flashq.errors import Unavailable
from flashq.shard import internal
from flashq.transport.hook_feed import HOOKS_READY, SENDER, Parcel, Taken, Target

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


class HookDesk:
    """One shard's."""

    def __init__(self, here: "ShardDispatcher", notify: Callable[[str, int, bytes], Any]) -> None:
        self._here = here
        self._notify = notify
        self._hungry = False
        """The sender has taken all there was, and waits for more."""
        self._waiting: list[tuple[int, internal.Answer]] = []
        """Shards that ask to be told when a version is known here."""

    def wait_known(self, version: int, way: internal.Answer) -> object:
        """Answer when this version of all webhooks is known here."""
        if self._here.engine.hooks.version >= version:
            return version
        self._waiting.append((version, way))
        return internal.NOT_YET

    def look(self) -> None:
        """Messages of other shards have come: there may be webhooks among them."""
        if self._waiting:
            known = self._here.engine.hooks.version
            for version, way in self._waiting:
                if version <= known:
                    way.give(version)
            self._waiting = [one for one in self._waiting if one[0] > known]

    def take(
        self, most: int, each: int, size: int, skip: Iterable[int], held: list[tuple[int, int]] | None
    ) -> Taken:  # fmt: skip
        """Deliveries for the sender. `held`: all that it has in hand; None: as this shard knows."""
        engine = self._here.engine
        if held is not None:
            hold_only(engine, held)
        found = list(take(engine, most, each, size, skip))
        more = has_ready(engine)
        self._hungry = not more
        hooks = [engine.hooks.lines[hook].hook for hook in dict.fromkeys(one.hook for one in found)]
        return Taken(
            [Target(hook.id, hook.url, hook.secret) for hook in hooks],
            [Parcel(one.hook, one.no, one.attempts, one.happening) for one in found],
            more,
        )

    def tell(self) -> None:
        """The tick is on disk, and something can be delivered."""
        self._here.engine.hooks.fresh = False
        if self._hungry:
            self._hungry = False
            try:
                self._notify(SENDER, HOOKS_READY, b"")
            except Unavailable:
                return  # it asks, when it is back

    def sender_gone(self) -> None:
        """It died with what it had in hand."""
        self._hungry = False
        hold_only(self._here.engine, ())
