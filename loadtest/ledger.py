"""The ledger: which jobs a queue should hold, so that each is seen to come exactly once and in its turn.

The bag is for jobs that may come in another order.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice


class WrongJobsError(AssertionError):
    """A job was lost, came twice, came out of turn or was never pushed."""


class Ledger:
    """Ids of one queue's waiting jobs, in the order in which they have to come."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._last = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def pushed(self, ids: Sequence[int], count: int) -> None:
        """Book what replies to `count` pushes said. Ids grow with time, so order is theirs, whoever pushed."""
        ordered = sorted(ids)
        if len(ordered) != count or len(set(ordered)) != count:
            raise WrongJobsError(f"{count} pushes brought {len(set(ordered))} ids")
        if ordered and ordered[0] <= self._last:
            raise WrongJobsError(f"id {ordered[0]} was given after {self._last}")
        if ordered:
            self._last = ordered[-1]
        self._waiting.extend(ordered)

    def next_ids(self, count: int) -> list[int]:
        """The jobs that have to come next."""
        return list(islice(self._waiting, count))

    def took(self, ids: Sequence[int]) -> None:
        """Book jobs that came. Raises WrongJobsError unless they are the next ones."""
        for job_id in ids:
            expected = self._waiting.popleft() if self._waiting else None
            if job_id != expected:
                raise WrongJobsError(f"job {job_id} came, {expected} was next")

    def empty(self) -> None:
        """Raises WrongJobsError if jobs are still to come."""
        if self._waiting:
            raise WrongJobsError(f"{len(self._waiting)} jobs did not come, the first is {self._waiting[0]}")


class Bag:
    """Ids of jobs that have to come once each, in whatever order."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def pushed(self, ids: Sequence[int], count: int) -> None:
        """Book what replies to `count` pushes said."""
        before = len(self._waiting)
        self._waiting.update(ids)
        if len(ids) != count or len(self._waiting) != before + count:
            raise WrongJobsError(f"{count} pushes brought {len(self._waiting) - before} new ids")

    def took(self, ids: Sequence[int]) -> None:
        """Book jobs that came, or that were cancelled. Raises WrongJobsError unless each was due."""
        for job_id in ids:
            if job_id not in self._waiting:
                raise WrongJobsError(f"job {job_id} came, which was not due")
            self._waiting.remove(job_id)

    def empty(self) -> None:
        """Raises WrongJobsError if jobs are still to come."""
        if self._waiting:
            raise WrongJobsError(f"{len(self._waiting)} jobs did not come, the first is {min(self._waiting)}")
