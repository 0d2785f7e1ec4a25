"""A queue of ten thousand tenants, each with a rate limit of its own: PULLB in turns over all of them."""

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Final

from loadtest.bench import FILL
from loadtest.ledger import WrongJobsError
from loadtest.station import DIALECT, Station
from loadtest.trials import Figures, Side, Site, queue_on

PULLED: Final = "pulled, k jobs/s"
JOBS_A_KEY: Final = 10


def keys(site: Site) -> Sequence[Side]:
    """The limit is one that no key reaches, so that it is the looking that is measured."""
    cluster, tenants = site.cluster(), site.size(10_000, 200)
    station = Station(
        cluster.port, queue_on(cluster, 0, "keys"), lambda number: b'"limit_key":"tenant-%05d",' % (number % tenants)
    )
    with station.line() as line:
        limit = b'{"cmd":"RATELIMIT","queue":"%b","limit":1000,"per_key":true}\n' % station.queue.encode()
        DIALECT.check_ok(line.ask(limit))

    def run() -> Figures:
        count = tenants * JOBS_A_KEY
        _, ids = station.push(count)
        came, seconds = _pulled(station, -(-count // FILL))
        _check_turns(came, ids, tenants)
        station.bag.took(came)
        with station.line() as line:
            for at in range(0, count, FILL):
                group = came[at : at + FILL]
                DIALECT.acked(line.ask(DIALECT.ack_batch(group)), len(group))
        station.drain()
        return {PULLED: count / seconds / 1e3}

    return (run,)


def _pulled(station: Station, pulls: int) -> tuple[list[int], float]:
    """What so many pulls brought, and the seconds they took."""
    pull = DIALECT.pull_batch(station.queue)
    with station.line() as line:
        since = perf_counter_ns()
        replies = [line.ask(pull) for _ in range(pulls)]
        took = perf_counter_ns() - since
    return DIALECT.pulled(b"".join(replies)), took / 1e9


def _check_turns(came: list[int], ids: list[int], tenants: int) -> None:
    """Every tenant has had one job before any has had two. Raises WrongJobsError."""
    number_of = {job_id: number for number, job_id in enumerate(ids)}
    if len({number_of[job_id] % tenants for job_id in came[:tenants]}) != tenants:
        raise WrongJobsError("a tenant got a second job before each had had one")
