"""Spans of what doors serve reach a collector: a real OTLP receiver, on loopback."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flashq.api import spans
from flashq.api.grpc import flashq_pb2 as pb
from flashq.config import Settings, load
from flashq.errors import ConfigError
from flashq.testing.cluster import Cluster
from tests.integration.calls import Caller
from tests.integration.receiver import Got, Receiver
from tests.integration.web import Web

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}-00"


def spans_in(got: list[Got]) -> list[dict[str, Any]]:
    """Those that the collector got, each with its attributes."""
    found = []
    for one in got:
        assert one.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(one.body).resource_spans:
            process = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {
                        pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes
                    }  # fmt: skip
                    found.append({
                        **values, "name": span.name, "trace": span.trace_id.hex(), "parent": span.parent_span_id.hex(),
                        "status": span.status.code, "process": process["service.instance.id"],
                        "service": process["service.name"], "took": span.end_time_unix_nano - span.start_time_unix_nano,
                    })  # fmt: skip
    return found


@contextmanager
def traced(sample: str) -> Iterator[tuple[Cluster, Receiver]]:
    with Receiver() as receiver:
        settings = {"FLASHQ_OTEL_ENDPOINT": receiver.url.removesuffix("/hook"), "FLASHQ_OTEL_SAMPLE": sample}
        with Cluster(shards=1, durability="memory", http=True, grpc=True, settings=settings) as cluster:
            yield cluster, receiver


def named(name: str) -> Callable[[list[Got]], bool]:
    return lambda got: any(span["name"] == name for span in spans_in(got))


def test_requests_of_every_door_are_told_with_the_trace_that_they_belong_to() -> None:
    with traced("0") as (cluster, receiver), Web(cluster) as web, Caller(cluster) as caller:
        web.ok("POST", "/queues/mail/jobs", {"data": 1}, traceparent=SAMPLED)
        web.ok("POST", "/queues/mail/jobs", {"data": 2}, traceparent=UNSAMPLED)
        web.ok("POST", "/queues/mail/jobs", {"data": 3})
        web.ask("POST", "/api/v1/jobs/123456/ack", {}, traceparent=SAMPLED)
        caller.call("Push", pb.PushRequest(queue="mail", data=b"4"), traceparent=SAMPLED)
        caller.call("Pull", pb.PullRequest(queue="mail"), traceparent=SAMPLED)
        found = spans_in(receiver.wait(named("flashq.QueueService/Pull")))
        found = spans_in(receiver.wait(lambda got: len(spans_in(got)) >= 4)) if len(found) < 4 else found
        by_name = {span["name"]: span for span in found}
        assert sorted(span["name"] for span in found) == [
            "ACK", "PUSH", "flashq.QueueService/Pull", "flashq.QueueService/Push",
        ]  # fmt: skip
        assert {(span["trace"], span["parent"], span["service"]) for span in found} == {(TRACE_ID, SPAN_ID, "flashq")}
        push = by_name["PUSH"]
        assert (push["messaging.destination.name"], push["http.request.method"]) == ("mail", "POST")
        assert (push["http.route"], push["http.response.status_code"]) == ("/queues/{queue}/jobs", 200)
        assert (push["client.address"], push["process"], push["status"]) == ("127.0.0.1", "http-0", 0)
        assert push["took"] > 0
        assert by_name["ACK"]["http.response.status_code"] == 404
        rpc = by_name["flashq.QueueService/Push"]
        assert (rpc["rpc.method"], rpc["rpc.response.status_code"], rpc["process"]) == ("Push", "OK", "grpc-0")


def test_share_of_what_belongs_to_no_trace_is_told_of_as_the_setting_says() -> None:
    with traced("1.0") as (cluster, receiver), Web(cluster) as web:
        for _ in range(3):
            web.ok("GET", "/queues/mail/count")
        found = spans_in(receiver.wait(lambda got: len(spans_in(got)) == 3))
        assert {(span["name"], span["parent"]) for span in found} == {("COUNT", "")}
        assert len({span["trace"] for span in found}) == 3


def test_collector_that_is_down_costs_neither_answers_nor_a_slow_stop() -> None:
    settings = {"FLASHQ_OTEL_ENDPOINT": "http://127.0.0.1:9"}
    with Cluster(shards=1, durability="memory", http=True, settings=settings) as cluster:
        with Web(cluster) as web:
            for n in range(20):
                web.ok("POST", "/queues/q/jobs", {"data": n})
        started = time.monotonic()
        assert cluster.stop() == 0
        assert time.monotonic() - started < 15


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://a/", "http://", "http://a:x/"])
def test_endpoint_that_is_no_url_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match=r"otel_endpoint.*http or https URL"):
        load({"otel_endpoint": url}, environ={})


def test_missing_extra_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    spans.check_spans(Settings())
    spans.check_spans(Settings(otel_endpoint="http://127.0.0.1:4318"))
    monkeypatch.setattr(spans, "_NEEDED", ("opentelemetry.nothing_of_that_name",))
    with pytest.raises(ConfigError, match=r"pip install 'flashq-cluster\[otel\]'"):
        spans.check_spans(Settings(otel_endpoint="http://127.0.0.1:4318"))
    spans.check_spans(Settings())
