"""How long a component that died waits before it is started again."""

from typing import Final

FIRST_MS: Final = 50
MAX_MS: Final = 5_000
RESET_MS: Final = 10_000


class Backoff:
    """At once the first time, then 50 ms, doubling to 5 s; from the start again after 10 s of serving.

    The first is free because most deaths are single, and each millisecond is one without that shard's queues;
    what dies again and again must not eat the machine of those that live.
    """

    def __init__(self) -> None:
        self._deaths = 0

    def next_delay_ms(self, served_ms: int) -> int:
        """The wait after a death, in milliseconds; `served_ms` is how long it served since its last start."""
        if served_ms >= RESET_MS:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0
        # Bounded before the shift: a component may die for days.
        return min(FIRST_MS << min(self._deaths - 2, 16), MAX_MS)
