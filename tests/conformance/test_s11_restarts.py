"""§11, F16, F18, F43, F47-F49: what a server that is killed and started again still knows. On one of our own."""

from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.conformance.peer import CODECS, Peer
from tests.conformance.ways import SHARDS, Address, Way

pytestmark = pytest.mark.own_server


@pytest.fixture(scope="module")
def cluster(store: dict[str, str]) -> Iterator[Cluster]:
    with Cluster(shards=SHARDS, durability="commit", settings=store) as one:
        yield one


class Mortal:
    """A server, and connections that are made anew after each death."""

    def __init__(self, cluster: Cluster, codec: str) -> None:
        self.cluster = cluster
        self.way = Way(Address("127.0.0.1", cluster.port, SHARDS), codec, "router")
        self.c: Peer = self.way.connect()

    def die_and_rise(self) -> Peer:
        """Kill -9 of every process, and a start on the same data."""
        self.c.sock.close()
        self.cluster.kill_all()
        self.cluster.start()
        self.c = self.way.connect()
        return self.c


@pytest.fixture(params=CODECS)
def mortal(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Mortal]:
    one = Mortal(cluster, request.param)
    yield one
    one.c.sock.close()


def test_f43_what_was_answered_ok_is_there(mortal: Mortal) -> None:
    queue, far = mortal.way.queue(), mortal.way.far()
    for n in range(200):
        mortal.c.send("PUSH", queue=(queue, far)[n % 2], data=n)
    ids = [mortal.c.read()["id"] for _ in range(200)]
    c = mortal.die_and_rise()
    assert [c.state(job_id) for job_id in ids] == ["waiting"] * 200
    assert [job["data"] for job in c.drain(queue)] == list(range(0, 200, 2))


def test_f16_jobs_that_run_keep_their_lease(mortal: Mortal) -> None:
    """The worker may have survived: its token still counts, and nobody else gets the job."""
    queue = mortal.way.queue()
    job_id = mortal.c.push(queue, 1)
    job = mortal.c.pull(queue)
    c = mortal.die_and_rise()
    assert c.state(job_id) == "active"
    c.nothing(queue)
    c.ok("ACK", id=job_id, lease=job["lease"], result="r")
    c = mortal.die_and_rise()
    assert (c.state(job_id), c.ok("GETRESULT", id=job_id)["result"]) == ("completed", "r")


def test_f18_dead_letters_are_whole(mortal: Mortal) -> None:
    queue = mortal.way.queue()
    job_id = mortal.c.push(queue, {"d": 1}, priority=3, tags=["t"], max_attempts=1, timeout=60_000)
    mortal.c.pull(queue)
    mortal.c.ok("FAIL", id=job_id, error="boom")
    before = mortal.c.ok("DLQ", queue=queue)["jobs"]
    c = mortal.die_and_rise()
    assert c.ok("DLQ", queue=queue)["jobs"] == before
    assert before[0]["error"] == "boom"


def test_f47_ids_go_on_and_no_result_is_anothers(mortal: Mortal) -> None:
    queue = mortal.way.queue()
    job_id = mortal.c.push(queue, 1)
    mortal.c.pull(queue)
    mortal.c.ok("ACK", id=job_id, result="old")
    c = mortal.die_and_rise()
    new = c.push(queue, 2)
    assert new > job_id
    assert c.ok("GETRESULT", id=new)["result"] is None


def test_f48_settings_keys_and_names_survive(mortal: Mortal) -> None:
    way, c = mortal.way, mortal.c
    queue, key, cron, name = way.queue(), way.name(), way.name(), way.name()
    job_id = c.push(queue, 1, unique_key="u", job_id=name, debounce_id="d", debounce_ttl=600_000, stall_timeout=77_000)
    c.ok("LOG", id=job_id, message="kept")
    c.ok("PAUSE", queue=queue)
    c.ok("RATELIMIT", queue=queue, limit=5)
    c.ok("SETCONCURRENCY", queue=queue, limit=6)
    c.ok("KVSET", key=key, value={"k": 1}, ttl=600_000)
    c.ok("CRON", name=cron, queue=queue, data=1, schedule="0 0 1 1 *", priority=2)
    far = way.far()
    flow = c.ok("FLOW", queue=way.queue(), data=1, children=[{"queue": far, "data": 1}])
    held = c.push(queue, 1, depends_on=[job_id])
    metrics = c.ok("METRICS")["metrics"]
    c = mortal.die_and_rise()
    assert c.ok("ISPAUSED", queue=queue)["paused"] is True
    info = next(entry for entry in c.ok("LISTQUEUES")["queues"] if entry["name"] == queue)
    assert (info["rate_limit"], info["concurrency_limit"]) == (5, 6)
    assert c.no("PUSH", queue=queue, data=1, unique_key="u").startswith("Duplicate")
    assert c.no("PUSH", queue=queue, data=1, debounce_id="d").startswith("Debounced")
    assert c.push(far, 1, job_id=name) == job_id
    assert c.job(job_id)["stall_timeout"] == 77_000
    assert [log["message"] for log in c.ok("GETLOGS", id=job_id)["logs"]] == ["kept"]
    assert c.ok("KVGET", key=key)["value"] == {"k": 1}
    assert 0 < c.ok("KVTTL", key=key)["ttl"] <= 600_000
    assert [entry["priority"] for entry in c.ok("CRONLIST")["crons"] if entry["name"] == cron] == [2]
    assert (c.state(flow["parent_id"]), c.state(held)) == ("waiting-parent", "waiting-children")
    assert c.ok("METRICS")["metrics"]["total_pushed"] >= metrics["total_pushed"]
    c.ok("ACK", id=c.pull(far, 15_000)["id"])
    assert c.pull(c.job(flow["parent_id"])["queue"], 15_000)["id"] == flow["parent_id"]


def test_f49_retried_dead_letter_stays_alive(mortal: Mortal) -> None:
    queue = mortal.way.queue()
    job_id = mortal.c.push(queue, 1, max_attempts=1)
    mortal.c.pull(queue)
    mortal.c.ok("FAIL", id=job_id)
    mortal.c.ok("RETRYDLQ", queue=queue)
    c = mortal.die_and_rise()
    assert (c.state(job_id), c.ok("DLQ", queue=queue)["jobs"]) == ("waiting", [])
    assert c.pull(queue)["id"] == job_id


def test_removed_stays_removed(mortal: Mortal) -> None:
    queue = mortal.way.queue()
    c = mortal.c
    cancelled, drained = c.push(queue, 1), c.push(queue, 2)
    c.ok("CANCEL", id=cancelled)
    c.ok("DRAIN", queue=queue)
    changed = c.push(queue, 3)
    c.ok("UPDATEJOB", id=changed, data=[4])
    c.ok("CHANGEPRIORITY", id=changed, priority=5)
    c = mortal.die_and_rise()
    assert [c.state(job_id) for job_id in (cancelled, drained, changed)] == ["unknown", "unknown", "waiting"]
    assert (c.job(changed)["data"], c.job(changed)["priority"]) == ([4], 5)
    c.ok("OBLITERATE", queue=queue)
    c = mortal.die_and_rise()
    assert c.state(changed) == "unknown"
    c.nothing(queue)
