"""CANCEL, CHANGEPRIORITY and UPDATEJOB by id, 64 in flight, with a million jobs waiting and with a thousand."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Final

from loadtest.ledger import WrongJobsError
from loadtest.station import Station
from loadtest.trials import Bound, Figures, Side, Site, queue_on

GO: Final = 1_000
"""Commands of a kind at a time. At both depths alike, so that what begins and ends a go costs both the same."""
COMMANDS: Final = ("CHANGEPRIORITY", "UPDATEJOB", "CANCEL")
MARK: Final = b'"updated":true'
DEEP: Final = "a million waiting"
SHALLOW: Final = "a thousand waiting"
RATE_MIN: Final = 60
NO_SLOWER: Final = 0.9
"""No slower, as far as two runs in turn can tell."""


def label(command: str, depth: str) -> str:
    return f"{command}, {depth}, k/s"


BOUNDS: Final = tuple(
    bound
    for command in COMMANDS
    for bound in (
        Bound(label(command, DEEP), RATE_MIN),
        Bound(label(command, DEEP), NO_SLOWER, label(command, SHALLOW)),
    )
)


def by_id(site: Site) -> Sequence[Side]:
    """Each depth has a cluster of its own, so that the thousand are really alone."""
    goes = site.size(20, 1)

    def side(name: str, depth: int) -> Side:
        cluster = site.cluster()
        pool = _Pool(Station(cluster.port, queue_on(cluster, 0, "by-id")), depth)
        site.check_at_end(pool.drain)

        def run() -> Figures:
            spent: dict[str, float] = defaultdict(float)
            for _ in range(goes):
                pool.go(spent)
            return {label(command, name): goes * GO / seconds / 1e3 for command, seconds in spent.items()}

        return run

    return side(DEEP, site.size(1_000_000, 3_000)), side(SHALLOW, GO)


class _Pool:
    """A queue that is always as deep again before a go."""

    def __init__(self, station: Station, depth: int) -> None:
        self._station = station
        _, self._ids = station.push(depth)
        self._random = Random(depth)
        self._updated: set[int] = set()

    def go(self, spent: dict[str, float]) -> None:
        """Each command for jobs from anywhere in the queue; the seconds that it took are added."""
        spent["CHANGEPRIORITY"] += self._station.each(b"CHANGEPRIORITY", self._chosen(), b',"priority":5')
        updated = self._chosen()
        spent["UPDATEJOB"] += self._station.each(b"UPDATEJOB", updated, b',"data":{%b}' % MARK)
        self._updated.update(updated)
        places = self._places()
        cancelled = [self._ids[place] for place in places]
        spent["CANCEL"] += self._station.each(b"CANCEL", cancelled)
        self._station.bag.took(cancelled)
        self._updated.difference_update(cancelled)
        for place, job_id in zip(places, self._station.push(GO)[1], strict=True):
            self._ids[place] = job_id

    def _places(self) -> list[int]:
        return self._random.sample(range(len(self._ids)), GO)

    def _chosen(self) -> list[int]:
        return [self._ids[place] for place in self._places()]

    def drain(self) -> None:
        """Raises WrongJobsError unless all that was not cancelled comes, and what was updated comes updated."""
        found = self._station.drain(MARK)
        if found != len(self._updated):
            raise WrongJobsError(f"{found} jobs came with new data, {len(self._updated)} were updated")
