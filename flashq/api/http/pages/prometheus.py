"""`/metrics/prometheus`: the series that existing dashboards know, and those of shards and processes."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from fastapi import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from flashq.api.http.pages.figures import now_ms
from flashq.api.http.pages.health import mono_ms, shard_states
from flashq.api.http.pages.page import Asked, Host, Page
from flashq.transport.histograms import BOUNDS_S, Histogram
from flashq.transport.job_times import JOB_BOUNDS_S, QueueTimes
from flashq.transport.shard_region import NO_LIMIT, OTHER, ShardCounters
from flashq.transport.shared_memory import QueueView

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SHARD_STATES: Final = {"queued": "queued", "delayed": "delayed", "processing": "active", "dlq": "dead"}
_SHARD_TOTALS: Final = {
    "pushed": "Jobs pushed", "completed": "Jobs completed", "failed": "Jobs that died for good",
    "retried": "Failures that were tried again", "ticks": "Ticks of the shard's loop",
    "journal_bytes": "Bytes written to the journal", "forwarded_in": "Requests from other processes",
    "forwarded_out": "Requests sent on to other shards",
}  # fmt: skip


class ClusterCollector(Collector):
    """All series, made at each scrape from shared memory."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield from self._totals()
        yield from self._queues()
        yield from self._shards()
        yield from self._processes()
        yield from _job_times(self._host)

    def _totals(self) -> Iterator[Metric]:
        totals = self._host.history.totals()
        for name, value in (("pushed", totals.pushed), ("completed", totals.completed), ("failed", totals.failed)):
            yield CounterMetricFamily(f"flashq_jobs_{name}", f"Jobs {name} since the first start", value=value)
        current = GaugeMetricFamily("flashq_jobs_current", "Jobs now, by state", labels=["state"])
        for state, value in (
            ("queued", totals.queued), ("processing", totals.active), ("delayed", totals.delayed),
            ("dlq", totals.dead), ("completed", totals.completed_now),
        ):  # fmt: skip
            current.add_metric([state], value)
        yield current
        throughput = self._host.history.throughput
        yield GaugeMetricFamily("flashq_throughput_per_second", "Jobs completed a second, of late", value=throughput)
        yield GaugeMetricFamily("flashq_latency_ms", "From creation to the ack, on average", value=totals.latency_ms)
        workers = len(self._host.workers.alive(now_ms()))
        yield GaugeMetricFamily("flashq_workers_active", "Workers that said lately that they live", value=workers)

    def _queues(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("flashq_queue_jobs", "Jobs of a queue, by state", labels=["queue", "state"])
        paused = GaugeMetricFamily("flashq_queue_paused", "Whether a queue is paused", labels=["queue"])
        for queue in _bounded(self._host.state.queues(), self._host.settings.metrics_queues_max):
            for state, value in (
                ("pending", queue.waiting), ("processing", queue.active), ("dlq", queue.dead),
                ("delayed", queue.delayed), ("completed", queue.completed),
            ):  # fmt: skip
                family.add_metric([queue.name, state], value)
            if queue.name != OTHER:
                paused.add_metric([queue.name], int(queue.paused))
        yield family
        yield paused

    def _shards(self) -> Iterator[Metric]:
        host = self._host
        up = GaugeMetricFamily("flashq_shard_up", "Whether a shard serves", labels=["shard"])
        age = GaugeMetricFamily("flashq_shard_heartbeat_age_seconds", "Since its last sign of life", labels=["shard"])
        for one in shard_states(host, mono_ms()):
            up.add_metric([one["shard"]], int(one["state"] == "serving"))
            if one["heartbeat_age_ms"] is not None:
                age.add_metric([one["shard"]], one["heartbeat_age_ms"] / 1_000)
        yield up
        yield age
        counters = [(f"shard-{n:02}", view.counters) for n in range(host.settings.shards) if (view := _view(host, n))]
        jobs = GaugeMetricFamily("flashq_shard_jobs", "Jobs of a shard, by state", labels=["shard", "state"])
        for name, one_of in counters:
            for state, field in _SHARD_STATES.items():
                jobs.add_metric([name, state], getattr(one_of, field))
        yield jobs
        yield from _by_shard(counters)
        for kind, words in (
            ("tick", "From the first request of a tick to its commit, as much as 1 ms too long"),
            ("commit", "Its commit alone"),
        ):
            times = HistogramMetricFamily(f"flashq_shard_{kind}_seconds", words, labels=["shard"])
            for n in range(host.settings.shards):
                found = host.state.histograms(n)[kind]
                times.add_metric([f"shard-{n:02}"], _cumulated(found), sum_value=found.sum_s)
            yield times

    def _processes(self) -> Iterator[Metric]:
        host = self._host
        restarts = CounterMetricFamily("flashq_process_restarts", "Restarts after a death", labels=["process"])
        for row in host.state.processes():
            restarts.add_metric([row.name], row.restarts)
        yield restarts
        connections, requests = host.count()
        labels = ["process"]
        gauge = GaugeMetricFamily("flashq_http_connections", "HTTP connections of the process scraped", labels=labels)
        gauge.add_metric([host.name], connections)
        yield gauge
        total = CounterMetricFamily("flashq_http_requests", "HTTP requests it has answered", labels=labels)
        total.add_metric([host.name], requests)
        yield total


_WAIT: Final = "From the moment a job could be given to a worker until it was"
_RUN: Final = "From the pull of a job to its ack"


def _job_times(host: Host) -> Iterator[Metric]:
    """How long jobs wait and run, by shard, and by queue where it has its own histogram."""
    by_shard = [HistogramMetricFamily(f"flashq_shard_{kind}_seconds", f"{words}, by shard", labels=["shard"])
                for kind, words in (("wait", _WAIT), ("run", _RUN))]  # fmt: skip
    for n in range(host.settings.shards):
        for family, found in zip(by_shard, host.state.job_times(n), strict=True):
            family.add_metric([f"shard-{n:02}"], _cumulated(found, JOB_BOUNDS_S), sum_value=found.sum_s)
    yield from by_shard
    wait = HistogramMetricFamily("flashq_queue_wait_seconds", f"{_WAIT}, by queue", labels=["queue"])
    run = HistogramMetricFamily("flashq_queue_run_seconds", f"{_RUN}, by queue", labels=["queue"])
    for one in _with_one_rest(host.state.queue_times()):
        wait.add_metric([one.name], _cumulated(one.wait, JOB_BOUNDS_S), sum_value=one.wait.sum_s)
        run.add_metric([one.name], _cumulated(one.run, JOB_BOUNDS_S), sum_value=one.run.sum_s)
    yield wait
    yield run


def _with_one_rest(found: list[QueueTimes]) -> list[QueueTimes]:
    """Queues by name, and the sum of what shards have counted for all others."""
    rest = [one for one in found if one.name == OTHER]
    waits, runs = _total([one.wait for one in rest]), _total([one.run for one in rest])
    return [*(one for one in found if one.name != OTHER), QueueTimes(OTHER, waits, runs)]


def _total(histograms: list[Histogram]) -> Histogram:
    counts = [sum(column) for column in zip(*(one.counts for one in histograms), strict=True)]
    return Histogram(counts or [0] * (len(JOB_BOUNDS_S) + 1), sum(one.sum_s for one in histograms))


def _cumulated(histogram: Histogram, bounds_s: tuple[float, ...] = BOUNDS_S) -> list[tuple[str, float]]:
    """Upper bound of each bucket, and how many are below it."""
    bounds = (*map(str, bounds_s), "+Inf")
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))


def _view(host: Host, shard: int) -> Any:
    return host.state.shard(shard)


def _by_shard(counters: list[tuple[str, ShardCounters]]) -> Iterator[Metric]:
    for field, words in _SHARD_TOTALS.items():
        total = CounterMetricFamily(f"flashq_shard_{field}", words, labels=["shard"])
        for name, one in counters:
            total.add_metric([name], getattr(one, field))
        yield total
    for field, words in (("connections", "Open connections"), ("memory_bytes", "Resident memory")):
        gauge = GaugeMetricFamily(f"flashq_shard_{field}", words, labels=["shard"])
        for name, one in counters:
            gauge.add_metric([name], getattr(one, field))
        yield gauge


def _bounded(queues: list[QueueView], most: int) -> list[QueueView]:
    """The busiest queues, the sum of all others behind them."""
    known = [queue for queue in queues if queue.name != OTHER]
    rest = [queue for queue in queues if queue.name == OTHER]
    if len(known) > most:
        known.sort(key=lambda q: (-(q.waiting + q.active + q.delayed + q.dead), q.name))
        rest += known[most:]
        known = known[:most]
    if not rest:
        return known
    waiting, active, delayed, dead, completed = (sum(values) for values in zip(*(q[2:7] for q in rest), strict=True))
    return [*known, QueueView(OTHER, -1, waiting, active, delayed, dead, completed, False, NO_LIMIT, NO_LIMIT)]


async def _prometheus(asked: Asked) -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ClusterCollector(asked.host))
    return Response(generate_latest(registry), media_type=None, headers={"content-type": CONTENT_TYPE})


PAGES: Final = [
    Page(method="GET", path="/metrics/prometheus", group="Figures", summary="All figures in Prometheus' text format",
         serve=_prometheus, plain=True, data="flashq_jobs_pushed_total 1015.0"),
]  # fmt: skip
