"""Lock-out: who guesses tokens waits, longer each time.

What counts is *different* wrong tokens of one address: a program with an old token shows the same one again and again,
and must not lock out its neighbours behind that address. While an address waits nothing it shows is looked at, right or
wrong, so that guesses made meanwhile tell nothing. Addresses are bounded; the one that was quiet longest goes first.
"""

import hashlib
from collections import OrderedDict
from typing import Final

ADDRESSES_MAX: Final = 10_000
FORGET_MS: Final = 600_000
"""An address without a wrong token for so long is as good as new."""
WAIT_MS_MIN: Final = 1_000
WAIT_MS_MAX: Final = 300_000


class _Guesser:
    __slots__ = ("last_ms", "seen", "until_ms", "wait_ms")

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.wait_ms = 0
        self.until_ms = 0
        self.last_ms = 0


class Lockout:
    """That of one process."""

    def __init__(self, guesses_max: int) -> None:
        """So many different wrong tokens are let pass, then each further one costs twice the wait of that before."""
        self._max = guesses_max
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def wait_ms(self, address: str, now_ms: int) -> int:
        """How long the address still has to wait; 0: not at all."""
        guesser = self._guessers.get(address)
        return max(0, guesser.until_ms - now_ms) if guesser is not None else 0

    def wrong(self, address: str, token: str, now_ms: int) -> None:
        """It has shown a wrong token."""
        guesser = self._guessers.get(address)
        if guesser is None or now_ms - guesser.last_ms > FORGET_MS:
            guesser = self._guessers[address] = _Guesser()
        self._guessers.move_to_end(address)
        guesser.last_ms = now_ms
        # A short digest: the tokens themselves, one of which may be right elsewhere, are not kept.
        mark = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()[:8]
        if mark not in guesser.seen:
            if len(guesser.seen) < self._max:
                guesser.seen.add(mark)
            else:
                guesser.wait_ms = min(max(WAIT_MS_MIN, 2 * guesser.wait_ms), WAIT_MS_MAX)
                guesser.until_ms = now_ms + guesser.wait_ms
        while len(self._guessers) > ADDRESSES_MAX:
            self._guessers.popitem(last=False)
