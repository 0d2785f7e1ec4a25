"""A thousand crons a second: none missed, none doubled."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from loadtest.bench import FILL
from loadtest.station import DIALECT, Station
from loadtest.stats import percentiles
from loadtest.trials import Bound, Figures, Side, Site, queue_on

MISSED: Final = "missed"
DOUBLED: Final = "doubled"
LATE: Final = "late, p99, ms"
FIRED: Final = "fired"
BOUNDS: Final = (Bound(MISSED, 0, at_most=True), Bound(DOUBLED, 0, at_most=True))
GRACE_S: Final = 10.0
"""How long what has not come is waited for."""


class _Data(msgspec.Struct):
    cron: int


class _Fired(msgspec.Struct):
    id: int
    created_at: int
    data: _Data


class _Pulled(msgspec.Struct):
    jobs: list[_Fired]


class Verdict(NamedTuple):
    """What became of all firings that were due."""

    missed: int
    doubled: int
    late_ms: list[int]


def judged(moments: Mapping[int, Sequence[int]], crons: int, every_ms: int, times: int) -> Verdict:
    """Which firings are missing, and which came again or beyond what was asked for.

    `moments`: those of each cron, in milliseconds, in any order. The first firing of a cron says when the others are
    due. A firing belongs to the nearest moment that was due.
    """
    missed, doubled, late = (crons - len(moments)) * times, 0, []
    for each in moments.values():
        ordered = sorted(each)
        places = [(moment - ordered[0] + every_ms // 2) // every_ms for moment in ordered]
        met = len({place for place in places if place < times})
        missed += times - met
        doubled += len(places) - met
        late += [moment - ordered[0] - place * every_ms for moment, place in zip(ordered, places, strict=True)]
    return Verdict(missed, doubled, late)


def crons(site: Site) -> Sequence[Side]:
    """Each cron is to fire so often and no more; what they push is pulled as it comes."""
    cluster, count, every_ms, times = site.cluster(), site.size(1_000, 20), site.size(1_000, 200), site.size(60, 5)
    stations = [Station(cluster.port, queue_on(cluster, shard, "crons")) for shard in range(cluster.shards)]

    def run() -> Figures:
        _set(stations, count, every_ms, times)
        moments = _collected(stations, count * times, time.monotonic() + every_ms * times / 1e3 + GRACE_S)
        verdict = judged(moments, count, every_ms, times)
        late = percentiles([ms * 1_000_000 for ms in verdict.late_ms]).p99 / 1e3
        fired = sum(map(len, moments.values()))
        return {FIRED: fired, MISSED: verdict.missed, DOUBLED: verdict.doubled, LATE: late}

    return (run,)


def _set(stations: Sequence[Station], count: int, every_ms: int, times: int) -> None:
    with stations[0].line() as line:
        for number in range(count):
            queue = stations[number % len(stations)].queue.encode()
            frame = b'{"cmd":"CRON","name":"cron-%d","queue":"%b","data":{"cron":%d},"repeat_every":%d,"limit":%d}\n'
            DIALECT.check_ok(line.ask(frame % (number, queue, number, every_ms, times)))


def _collected(stations: Sequence[Station], count: int, until: float) -> Mapping[int, list[int]]:
    """Take and finish jobs until so many have come, or it is time; the moments at which each cron made one."""
    moments: dict[int, list[int]] = defaultdict(list)
    pulls = [
        b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":100}\n' % (station.queue.encode(), FILL)
        for station in stations
    ]
    came, quiet = 0, 0
    with stations[0].line() as line:
        # Two empty pulls a queue after the last job: nothing is fired beyond what was asked for.
        while time.monotonic() < until and (came < count or quiet < 2 * len(pulls)):
            for pull in pulls:
                jobs = msgspec.json.decode(line.ask(pull), type=_Pulled).jobs
                quiet = 0 if jobs else quiet + 1
                came += len(jobs)
                for job in jobs:
                    moments[job.data.cron].append(job.created_at)
                if jobs:
                    DIALECT.acked(line.ask(DIALECT.ack_batch([job.id for job in jobs])), len(jobs))
    return moments
