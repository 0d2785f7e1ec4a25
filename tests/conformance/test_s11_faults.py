"""§11: faults of the old servers that TCP shows, one test each; none is imitated. Restarts: test_s11_restarts.py.

F30-F39, F45 and F51-F53 are of other doors; F42 and F46 need tokens: test_s1_tokens.py.
"""

import pytest

from tests.conformance.peer import TEXT, Peer
from tests.conformance.states import UNKNOWN_ID
from tests.conformance.ways import Way


def failed(c: Peer, queue: str, **options: object) -> int:
    job_id = c.push(queue, 1, **{"max_attempts": 1, **options})
    assert c.pull(queue)["id"] == job_id
    c.ok("FAIL", id=job_id, error="boom")
    return job_id


def test_f01_req_id_is_echoed_on_requests_that_do_not_parse(c: Peer, q: str) -> None:
    for fields in ({"cmd": "NOSUCH"}, {"cmd": "PUSH", "queue": q}, {"cmd": "PULL", "queue": [q]}):
        assert c.refusal(**fields, reqId="r")["reqId"] == "r"


def test_f02_auth_says_success(c: Peer) -> None:
    assert c.ok("AUTH", token="t")["success"] is True


def test_f03_pushb_says_what_it_refuses(c: Peer, q: str) -> None:
    assert c.no("PUSHB", queue="a b", jobs=[{"data": 1}]).startswith("Queue name")
    assert "1000" in c.no("PUSHB", queue=q, jobs=[{"data": 1}] * 1001)
    reply = c.ok("PUSHB", queue=q, jobs=[{"data": 1, "debounce_id": "d"}, {"data": 2, "debounce_id": "d"}])
    assert (len(reply["ids"]), [e["index"] for e in reply["errors"]]) == (1, [1])


def test_f04_pushb_registers_and_checks_unique_keys(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": 1, "unique_key": "k"}])
    assert c.no("PUSH", queue=q, data=2, unique_key="k") == "Duplicate job with key: k"
    assert c.ok("PUSHB", queue=q, jobs=[{"data": 3, "unique_key": "k"}])["ids"] == []


def test_f05_custom_id_of_a_finished_job_makes_a_new_one_both_ways(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    ids = [c.push(q, 1, job_id=name)]
    c.ok("ACK", id=c.pull(q)["id"])
    ids += c.ok("PUSHB", queue=q, jobs=[{"data": 2, "job_id": name}])["ids"]
    c.ok("ACK", id=c.pull(q)["id"])
    ids.append(c.push(q, 3, job_id=name))
    assert len(set(ids)) == 3


def test_f06_every_transition_is_told(c: Peer, d: Peer, way: Way, q: str) -> None:
    wanted = ["pushed", "completed", "progress", "retrying", "cancelled", "discarded", "stalled", "timeout"]
    d.ok("SUBSCRIBE", queue=q, events=wanted)
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": n, "backoff": 600_000} for n in range(5)])["ids"]
    c.drain(q)
    c.ok("ACKB", ids=ids[:1])
    c.ok("PROGRESS", id=ids[1], progress=1)
    c.ok("FAIL", id=ids[1])
    c.ok("CANCEL", id=ids[2])
    c.ok("DISCARD", id=ids[3])
    c.ok("FLOW", queue=way.far(), data=1, children=[{"queue": q, "data": "child", "stall_timeout": 20}])
    c.push(q, 1, timeout=20)
    for _ in range(2):
        c.pull(q, 15_000)
    seen: set[str] = set()
    while seen != set(wanted):
        event = d.read()
        body = event["event"] if isinstance(event["event"], dict) else event
        seen.add(body.get("event_type", body.get("event")))
        assert seen <= set(wanted)


def test_f07_ackb_is_n_times_ack(c: Peer, d: Peer, way: Way, q: str) -> None:
    far = way.far()
    flow = c.ok("FLOW", queue=q, data=1, children=[{"queue": far, "data": 1}, {"queue": far, "data": 2}])
    c.ok("SETCONCURRENCY", queue=far, limit=2)
    ids = [c.pull(far, 15_000)["id"] for _ in range(2)]
    c.ok("ACKB", ids=ids, results=["a", "b"])
    assert [c.ok("GETRESULT", id=job_id)["result"] for job_id in ids] == ["a", "b"]
    assert c.ok("GETJOBCOUNTS", queue=far)["completed"] == 2
    assert sorted(job["id"] for job in c.ok("GETJOBS", queue=far, state="completed")["jobs"]) == sorted(ids)
    assert d.pull(q, 15_000)["id"] == flow["parent_id"]
    c.push(far)
    c.pull(far)


def test_f08_completed_jobs_are_still_jobs(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    job_id = c.push(q, {"a": 1}, job_id=name)
    c.pull(q)
    c.ok("ACK", id=job_id)
    assert (c.job(job_id)["data"], c.ok("GETJOB", id=job_id)["state"]) == ({"a": 1}, "completed")
    assert c.ok("GETJOBBYCUSTOMID", job_id=name)["job"]["id"] == job_id


def test_f09_unrecognised_state_filter_is_refused(c: Peer, q: str) -> None:
    assert c.refusal("GETJOBS", queue=q, state="lazy")["code"] == "invalid"


def test_f10_getchildren_answers_as_long_as_the_parent_is_known(c: Peer, d: Peer, way: Way, q: str) -> None:
    far = way.far()
    parent = c.ok("FLOW", queue=q, data=1, children=[{"queue": far, "data": 1}])["parent_id"]
    c.ok("ACK", id=c.pull(far, 15_000)["id"])
    for _ in range(2):
        reply = c.ok("GETCHILDREN", parent_id=parent)
        assert (reply["total"], len(reply["children"])) == (1, 1)
        if c.state(parent) != "completed":
            c.ok("ACK", id=d.pull(q, 15_000)["id"])


def test_f11_waitjob_tells_death_and_cancellation_at_once(c: Peer, d: Peer, q: str) -> None:
    for cmd, text in (("DISCARD", "Job failed"), ("CANCEL", "cancelled")):
        job_id = c.push(q, 1)
        d.send("WAITJOB", id=job_id, timeout=15_000)
        c.ok(cmd, id=job_id)
        reply = d.read()
        assert reply["ok"] is False
        assert text in reply["error"] or "not found" in reply["error"]  # it may have ended before the wait began
    job_id = c.push(q, 1, stall_timeout=100, max_attempts=1)
    c.pull(q)
    assert d.ask("WAITJOB", id=job_id, timeout=15_000)["error"].startswith("Job failed")


def test_f12_subscribe_delivers_and_unsubscribe_is_ones_own(c: Peer, d: Peer, way: Way, q: str) -> None:
    c.ok("SUBSCRIBE", queue=q, events=["pushed"])
    d.ok("SUBSCRIBE", queue=q, events=["pushed"])
    d.ok("UNSUBSCRIBE", queue=q)
    d.push(q)
    assert "event" in c.read()


def test_f13_flow_cron_and_updatejob_validate_like_push(c: Peer, way: Way, q: str) -> None:
    big = "x" * 10_500_000
    assert c.no("FLOW", queue="a b", data=1, children=[{"queue": q, "data": 1}]).startswith("Queue name")
    assert "Queue name" in c.no("FLOW", queue=q, data=1, children=[{"queue": "a b", "data": 1}])
    assert c.no("CRON", name=way.name(), queue="a b", data=1, schedule="*/5").startswith("Queue name")
    job_id = c.push(q, 1)
    assert c.refusal("UPDATEJOB", id=job_id, data=big)["code"] == "too_large"
    assert c.job(job_id)["data"] == 1


def test_f14_kvmget_and_kvmset_refuse_what_they_would_drop(c: Peer, way: Way) -> None:
    key = way.name()
    assert "1000" in c.no("KVMGET", keys=["k"] * 1001)
    c.no("KVMSET", entries=[{"key": key, "value": 1}, {"key": "", "value": 2}])
    assert c.ok("KVEXISTS", key=key)["exists"] is False


def test_f15_kvincr_does_not_wrap(c: Peer, way: Way) -> None:
    key = way.name()
    c.ok("KVSET", key=key, value=2**63 - 1)
    c.no("KVINCR", key=key)
    assert c.ok("KVGET", key=key)["value"] == 2**63 - 1
    c.ok("KVDEL", key=key)


def test_f16_lease_that_ends_requeues_and_counts(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, stall_timeout=20, max_attempts=3, backoff=0)
    for attempts in range(3):
        job = c.pull(q, 15_000)
        assert (job["id"], job["attempts"]) == (job_id, attempts)


def test_f17_completed_at_is_set(c: Peer, q: str) -> None:
    job_id = c.push(q)
    c.pull(q)
    c.ok("ACK", id=job_id)
    assert c.job(job_id)["completed_at"] > 0


def test_f18_error_of_a_dead_job_is_kept(c: Peer, q: str) -> None:
    job_id = failed(c, q, priority=4, tags=["t"])
    job = c.ok("DLQ", queue=q)["jobs"][0]
    assert (job["id"], job["error"], job["priority"], job["tags"]) == (job_id, "boom", 4, ["t"])


def test_f19_lifo_is_by_push_order(c: Peer, d: Peer, q: str) -> None:
    for n in range(4):
        c.push(q, n, lifo=True)
        d.ok("PULL", queue=f"{q}-none", timeout=3)  # not in one millisecond
    assert [job["data"] for job in c.drain(q)] == [3, 2, 1, 0]


def test_f20_delayed_job_hides_no_ready_one(c: Peer, q: str) -> None:
    c.push(q, "hidden?", priority=-5)
    c.push(q, "later", priority=5, delay=600_000)
    assert c.pull(q)["data"] == "hidden?"


def test_f21_unique_keys_do_not_leak(c: Peer, way: Way, q: str) -> None:
    def free() -> None:
        c.ok("CANCEL", id=c.push(q, 1, unique_key="k"))

    c.push(q, 1, unique_key="k", ttl=20)
    c.ok("PULL", queue=f"{q}-none", timeout=50)
    free()
    failed(c, q, unique_key="k")
    c.ok("PURGEDLQ", queue=q)
    free()
    failed(c, q, unique_key="k")
    c.ok("CLEAN", queue=q, grace=0, state="failed")
    free()
    failed(c, q, unique_key="k", remove_on_fail=True)
    free()
    c.ok("CANCEL", id=c.push(q, 1, unique_key="k", depends_on=[c.push(way.far())]))
    free()


def test_f22_dependants_are_never_held_for_ever(c: Peer, d: Peer, way: Way, q: str) -> None:
    c.no("PUSH", queue=q, data=1, depends_on=[UNKNOWN_ID])
    for end in ("CANCEL", "DISCARD"):
        first = c.push(way.far())
        job_id = c.push(q, 1, depends_on=[first])
        c.ok(end, id=first)
        assert d.ask("WAITJOB", id=job_id, timeout=15_000)["error"].startswith("Job failed")


def test_f23_released_dependant_is_an_ordinary_job(c: Peer, d: Peer, way: Way, q: str) -> None:
    far = way.far()
    job_id = c.push(q, 1, depends_on=[c.push(far)], priority=1)
    d.send("PULL", queue=q, timeout=15_000)
    c.ok("ACK", id=c.pull(far)["id"])
    d.read()
    reply = c.ok("GETJOB", id=job_id)
    assert (reply["job"]["id"], reply["state"]) == (job_id, "active")
    c.ok("CANCEL", id=job_id)


def test_f24_parent_does_not_wait_for_a_dead_child(c: Peer, d: Peer, way: Way, q: str) -> None:
    far = way.far()
    flow = c.ok("FLOW", queue=q, data=1, children=[{"queue": far, "data": 1}])
    c.ok("DISCARD", id=flow["children_ids"][0])
    assert d.ask("WAITJOB", id=flow["parent_id"], timeout=15_000)["error"].startswith("Job failed")


def test_f25_retention_is_honoured_oldest_first(c: Peer, q: str) -> None:
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": n, "keep_completed_count": 1} for n in range(3)])["ids"]
    c.drain(q)
    for job_id in ids:
        c.ok("ACK", id=job_id)
    assert [job["id"] for job in c.ok("GETJOBS", queue=q, state="completed")["jobs"]] == ids[2:]


def test_f26_rate_limit_is_charged_per_delivered_job(c: Peer, q: str) -> None:
    c.ok("RATELIMIT", queue=q, limit=2)
    for _ in range(5):
        c.nothing(q)
    c.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(20)])
    assert len(c.drain(q)) == 2


def test_f27_concurrency_counts_what_is_active(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "stall_timeout": 1_500, "backoff": 600_000} for n in range(2)])
    c.pull(q)
    c.ok("SETCONCURRENCY", queue=q, limit=1)
    c.nothing(q)
    c.pull(q, 15_000)  # the stalled one gives its place back


def test_f28_groups_are_freed_on_every_exit(c: Peer, q: str) -> None:
    for cmd, fields in (("CANCEL", {}), ("MOVETODELAYED", {"delay": 600_000}), ("DISCARD", {})):
        job_id = c.push(q, 1, group_id="g")
        assert c.pull(q)["id"] == job_id
        c.ok(cmd, id=job_id, **fields)
    c.push(q, 1, group_id="g", timeout=20, max_attempts=1)
    c.pull(q)
    last = c.push(q, 2, group_id="g")
    assert c.pull(q, 15_000)["id"] == last


def test_f29_clean_does_what_its_words_say(c: Peer, way: Way, q: str) -> None:
    other = way.queue()
    for queue in (q, other):
        c.push(queue)
        c.ok("ACK", id=c.pull(queue)["id"])
    waiting, delayed = c.push(q), c.push(q, 1, delay=600_000)
    assert c.ok("CLEAN", queue=q, grace=600_000, state="completed")["count"] == 0
    assert c.ok("CLEAN", queue=q, grace=0, state="completed")["count"] == 1
    assert c.ok("GETJOBCOUNTS", queue=other)["completed"] == 1
    assert c.ok("CLEAN", queue=q, grace=0, state="delayed")["count"] == 1
    assert (c.state(waiting), c.state(delayed)) == ("waiting", "unknown")


def test_f40_no_count_and_no_pattern_ends_the_process(c: Peer, way: Way, q: str) -> None:
    c.push(q)
    assert len(c.ok("PULLB", queue=q, count=10**18)["jobs"]) == 1
    key = "中" + way.name()
    c.ok("KVSET", key=key, value=1)
    assert c.ok("KVKEYS", pattern=f"*{key[1:]}*x")["keys"] == []
    assert c.ok("KVKEYS", pattern=f"*{key[1:]}")["keys"] == [key]
    c.ok("KVDEL", key=key)
    c.ok("DLQ", queue=q, count=10**18)
    c.ok("GETJOBS", queue=q, limit=10**18, offset=10**18)


@pytest.mark.codec(TEXT)
def test_f40_no_nesting_ends_the_process(way: Way) -> None:
    with way.bare() as peer:
        peer.raw(b'{"cmd":"STATS","x":' + b"[" * 200_000 + b"\n")
        assert peer.read()["ok"] is False
        way.open(peer)


@pytest.mark.codec(TEXT)
def test_f41_text_lines_are_bounded(way: Way) -> None:
    with way.bare() as peer:
        try:
            peer.raw(b"{")
            for _ in range(40):
                peer.raw(b"x" * (1 << 20))
        except ConnectionError:
            return
        assert peer.read()["ok"] is False
        assert peer.closed()


def test_f44_vanished_client_takes_no_job(way: Way, c: Peer, q: str) -> None:
    with way.connect() as peer:
        peer.send("PULL", queue=q, timeout=60_000, reqId="p")
        peer.send("COUNT", queue=q, reqId="c")
        assert peer.read()["reqId"] == "c"
    c.send("PULL", queue=q, timeout=15_000)
    c.send("PUSH", queue=q, data="c's")
    assert c.read()["job"]["data"] == "c's"


def test_f45_dlq_without_count_means_100(c: Peer, q: str) -> None:
    for job in c.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(101)])["ids"]:
        c.send("DISCARD", id=job)
    assert all(c.read()["ok"] for _ in range(101))
    assert len(c.ok("DLQ", queue=q)["jobs"]) == 100


@pytest.mark.parametrize("what", ["active", "dead", "paused", "rate", "concurrency", "delayed", "completed"])
def test_f50_every_queue_with_a_job_or_a_setting_is_listed(c: Peer, q: str, what: str) -> None:
    if what in ("active", "dead", "completed"):
        job_id = c.push(q, 1, max_attempts=1)
        c.pull(q)
        if what != "active":
            c.ok("FAIL" if what == "dead" else "ACK", id=job_id)
    elif what == "delayed":
        c.push(q, 1, delay=600_000)
    else:
        cmd = {"paused": "PAUSE", "rate": "RATELIMIT", "concurrency": "SETCONCURRENCY"}[what]
        c.ok(cmd, queue=q, **({} if what == "paused" else {"limit": 5}))
    assert q in [entry["name"] for entry in c.ok("LISTQUEUES")["queues"]]
    assert q in [entry["name"] for entry in c.ok("METRICS")["metrics"]["queues"]]
