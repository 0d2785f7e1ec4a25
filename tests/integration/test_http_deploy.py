"""What is shipped for Grafana and Prometheus names series that there are."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.web import Web

DEPLOY = Path(__file__).parents[2] / "deploy"
SERIES = re.compile(r"\bflashq_[a-z_]+")


@pytest.fixture(scope="module")
def scrape() -> Iterator[str]:
    with Cluster(shards=2, durability="commit", http=True) as cluster, Web(cluster) as web:
        for queue in (next(cluster.queues_of(0)), next(cluster.queues_of(1))):
            web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
            (job,) = web.ok("GET", f"/queues/{queue}/jobs?timeout=20000")
            web.ok("POST", f"/jobs/{job['id']}/ack", {})

        def counted() -> bool:
            """Histograms are shown once a heartbeat."""
            shown = web.ask("GET", "/metrics/prometheus").body.decode()
            lines = re.findall(r"^flashq_shard_run_seconds_count.* (.+)$", shown, re.MULTILINE)
            return len(lines) == 2 and all(float(count) >= 1 for count in lines)

        cluster.wait_until(counted, "a heartbeat of each shard")
        yield web.ask("GET", "/metrics/prometheus").body.decode()


def _named(scrape: str) -> set[str]:
    return {line.partition("{")[0].partition(" ")[0] for line in scrape.splitlines() if not line.startswith("#")}


def test_dashboard_is_json_and_its_series_exist(scrape: str) -> None:
    panels = json.loads((DEPLOY / "grafana/flashq.json").read_text())["panels"]
    named = {name for panel in panels for target in panel["targets"] for name in SERIES.findall(target["expr"])}
    assert len(named) > 10
    assert named <= _named(scrape)


def test_series_of_alert_rules_exist(scrape: str) -> None:
    rules = (DEPLOY / "prometheus/alerts.yml").read_text()
    expressions = re.findall(r"^ +expr: (.+)$", rules, re.MULTILINE)
    assert len(expressions) == len(re.findall(r"^ +- alert: \w+$", rules, re.MULTILINE)) > 5
    named = {name for expression in expressions for name in SERIES.findall(expression)}
    assert named <= _named(scrape)


@pytest.mark.parametrize("kind", ["tick", "commit", "wait", "run"])
@pytest.mark.parametrize("shard", [0, 1])
def test_histogram_counts_what_was_committed(scrape: str, kind: str, shard: int) -> None:
    family = f"flashq_shard_{kind}_seconds"
    label = f'shard="shard-{shard:02}"'
    found = [line for line in scrape.splitlines() if line.startswith(family) and label in line]
    buckets = [float(line.rsplit(" ", 1)[1]) for line in found if "_bucket" in line]
    count = next(float(line.rsplit(" ", 1)[1]) for line in found if "_count" in line)
    total = next(float(line.rsplit(" ", 1)[1]) for line in found if "_sum" in line)
    assert len(buckets) == 25
    assert all(a <= b for a, b in pairwise(buckets))
    assert buckets[-1] == count >= 1
    assert 0 <= total < 60
    assert total > 0 or kind in ("wait", "run")  # which are counted in whole milliseconds


@pytest.mark.parametrize("kind", ["wait", "run"])
def test_jobs_of_each_queue_are_timed(scrape: str, kind: str) -> None:
    counts = dict(re.findall(rf'^flashq_queue_{kind}_seconds_count{{queue="(.+)"}} (.+)$', scrape, re.MULTILINE))
    assert counts.pop("__other__") == "0.0"
    assert list(counts.values()) == ["1.0", "1.0"]
