"""Jobs with options, and jobs with names of their own, against plain ones."""

from collections.abc import Sequence
from typing import Final

from loadtest.station import Options, Station, plain
from loadtest.trials import Figures, Side, Site, queue_on

PLAIN: Final = "plain, k jobs/s"
OPTIONS: Final = "with options, k jobs/s"
NAMED: Final = "with job_id, k jobs/s"


def _delayed(number: int) -> bytes:
    return b'"priority":%d,"tags":["mail","en"],"delay":3600000,"unique_key":"user-%09d",' % (number % 10, number)


def _ready(number: int) -> bytes:
    return b'"priority":%d,"tags":["mail","en"],"max_attempts":5,"unique_key":"user-%09d",' % (number % 10, number)


def _named(number: int) -> bytes:
    return b'"job_id":"order-%09d",' % number


def options_pushb(site: Site) -> Sequence[Side]:
    """PUSHB of 1000 with priority, tags, delay and unique_key. What is delayed is promoted so that it comes, once."""
    cluster, count = site.cluster(), site.size(50_000, 2_000)

    def side(label: str, options: Options) -> Side:
        station = Station(cluster.port, queue_on(cluster, 0, options.__name__.strip("_")), options)

        def run() -> Figures:
            rate, ids = station.push(count)
            if options is _delayed:
                station.each(b"PROMOTE", ids)
            station.drain()
            return {label: rate}

        return run

    return side(PLAIN, plain), side(OPTIONS, _delayed)


def named_pushb(site: Site) -> Sequence[Side]:
    """PUSHB of 1000 with job_id: names live on all shards, wherever the queue lives."""
    cluster, count = site.cluster(), site.size(50_000, 2_000)

    def side(label: str, options: Options) -> Side:
        station = Station(cluster.port, queue_on(cluster, 0, options.__name__.strip("_")), options)

        def run() -> Figures:
            rate, _ = station.push(count)
            station.drain()
            return {label: rate}

        return run

    return side(PLAIN, plain), side(NAMED, _named)


def options_pull(site: Site) -> Sequence[Side]:
    """PULLB of 1000 + ACKB of jobs with options, which come by priority."""
    cluster, count = site.cluster(), site.size(50_000, 2_000)

    def side(label: str, options: Options) -> Side:
        station = Station(cluster.port, queue_on(cluster, 0, options.__name__.strip("_")), options)

        def run() -> Figures:
            _, ids = station.push(count)
            if options is _ready:
                ids = [job_id for first in range(9, -1, -1) for job_id in ids[first::10]]
            rate = station.pull_and_ack(ids)
            station.drain()
            return {label: rate}

        return run

    return side(PLAIN, plain), side(OPTIONS, _ready)
