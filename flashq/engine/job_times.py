"""How long jobs wait before a worker gets them, and how long it has them: counted as they are given and acked.

A duration in milliseconds is counted under its length in bits, so that a bucket is a power of two and nothing is
searched for. Jobs of a batch that have one time are counted at once. A bounded number of queues have counts of their
own, the first that come; the others share one. Replay counts, too, as it is the same code, and is forgotten.

A job waits from the moment it could be given (its push, the end of its delay, its return), and runs from the pull to
the ack.
"""

from typing import Final

LENGTHS: Final = 65
"""Of any duration that there can be, one of 64 bits included."""
SUM: Final = LENGTHS
"""Where, behind the counts, the sum is, in milliseconds."""


class JobTimes:
    """Those of one queue, or of all that have none of their own."""

    __slots__ = ("fresh", "runs", "waits")

    def __init__(self) -> None:
        self.waits = [0] * (LENGTHS + 1)
        """How many waited so long, by length; then the sum."""
        self.runs = [0] * (LENGTHS + 1)
        self.fresh = False
        """Whether anything was counted since it was shown."""

    def waited(self, ms: int, n: int = 1) -> None:
        """So many jobs were given out after so long each. A wall clock that was set back makes it 0."""
        if ms < 0:
            ms = 0
        waits = self.waits
        waits[ms.bit_length()] += n
        waits[SUM] += ms * n
        self.fresh = True

    def ran(self, ms: int, n: int = 1) -> None:
        """So many jobs were acked so long after they were given."""
        if ms < 0:
            ms = 0
        runs = self.runs
        runs[ms.bit_length()] += n
        runs[SUM] += ms * n
        self.fresh = True

    def clear(self) -> None:
        """Begin anew."""
        self.waits[:] = self.runs[:] = [0] * (LENGTHS + 1)
        self.fresh = False


class TimesByQueue:
    """Which queues have their own."""

    __slots__ = ("most", "other", "own")

    def __init__(self, most: int) -> None:
        self.most = most
        self.own: dict[str, JobTimes] = {}
        self.other = JobTimes()

    def of(self, name: str) -> JobTimes:
        """Where the times of this queue are counted, from its making until it is forgotten."""
        times = self.own.get(name)  # there still, if it was forgotten in this very second
        if times is not None:
            return times
        if len(self.own) >= self.most:
            return self.other
        times = self.own[name] = JobTimes()
        return times

    def forget(self, name: str) -> None:
        """The queue is no more: its place is another's."""
        self.own.pop(name, None)

    def clear(self) -> None:
        """Nothing that was counted is to be shown."""
        self.other.clear()
        for times in self.own.values():
            times.clear()
