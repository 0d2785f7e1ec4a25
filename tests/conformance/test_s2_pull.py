"""§2.3: PULL and PULLB."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way


def test_found_job_is_active_from_now(c: Peer, q: str) -> None:
    job_id = c.push(q, 1)
    reply = c.ok("PULL", queue=q, timeout=0)
    assert list(reply)[:2] == ["ok", "job"]
    job = reply["job"]
    assert job["id"] == job_id
    assert job["started_at"] == job["last_heartbeat"] >= job["created_at"] > 0
    assert job["attempts"] == 0
    assert c.state(job_id) == "active"
    c.nothing(q)


def test_nothing_in_time_is_null_and_empty(c: Peer, q: str) -> None:
    for timeout in (0, 1, 30):
        assert c.ok("PULL", queue=q, timeout=timeout) == {"ok": True, "job": None, "success": True}
        assert c.ok("PULLB", queue=q, count=5, timeout=timeout) == {"ok": True, "jobs": [], "success": True}


@pytest.mark.parametrize("cmd", ["PULL", "PULLB"])
@pytest.mark.parametrize("timeout", [None, 15_000, 300_000_000_000])
def test_waiting_pull_gets_what_is_pushed(c: Peer, d: Peer, q: str, cmd: str, timeout: int | None) -> None:
    fields = {"timeout": timeout} if timeout is not None else {}
    if cmd == "PULLB":
        fields["count"] = 10
    c.send(cmd, queue=q, **fields)
    job_id = d.push(q, "late")
    reply = c.read()
    job = reply["job"] if cmd == "PULL" else reply["jobs"][0]
    assert (job["id"], job["data"]) == (job_id, "late")


def test_waiting_pulls_are_served_in_their_order(c: Peer, d: Peer, way: Way, q: str) -> None:
    """First waiting, first served, whatever the number of pullers."""
    peers = [way.connect() for _ in range(4)]
    for peer in peers:
        peer.send("PULL", queue=q, timeout=15_000, reqId="p")
        # answered behind the pull: it has been taken in
        peer.send("COUNT", queue=q, reqId="c")
        assert peer.read()["reqId"] == "c"
    d.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(4)])
    assert [peer.read()["job"]["data"] for peer in peers] == [0, 1, 2, 3]
    for peer in peers:
        peer.sock.close()


def test_pullb_takes_up_to_count_and_returns_as_soon_as_one_is_ready(c: Peer, q: str) -> None:
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(5)])["ids"]
    assert [job["id"] for job in c.ok("PULLB", queue=q, count=2)["jobs"]] == ids[:2]
    assert [job["id"] for job in c.ok("PULLB", queue=q, count=100)["jobs"]] == ids[2:]


def test_pullb_of_zero_waits_out_its_timeout_and_is_empty(c: Peer, q: str) -> None:
    c.push(q)
    assert c.ok("PULLB", queue=q, count=0, timeout=10)["jobs"] == []
    assert c.ok("COUNT", queue=q)["count"] == 1


@pytest.mark.parametrize("count", [1001, 10**18, 2**63 - 1])
def test_pullb_of_a_huge_count_gives_at_most_1000(c: Peer, q: str, count: int) -> None:
    """F40: no count ends the process."""
    for _ in range(2):
        c.ok("PUSHB", queue=q, jobs=[{"data": 1}] * 600)
    assert len(c.ok("PULLB", queue=q, count=count, timeout=0)["jobs"]) == 1000
    assert c.ok("COUNT", queue=q)["count"] == 200


def test_pullb_stops_at_8_mib_and_leaves_the_rest_waiting(c: Peer, q: str) -> None:
    """Replies are bounded in bytes; at least one job is given."""
    for _ in range(3):
        c.push(q, "x" * (5 << 20))
    first = c.ok("PULLB", queue=q, count=3, timeout=0)["jobs"]
    assert len(first) in (1, 2)
    assert c.ok("COUNT", queue=q)["count"] == 3 - len(first)


def test_paused_queue_looks_empty_and_never_fails(c: Peer, d: Peer, q: str) -> None:
    c.push(q)
    c.ok("PAUSE", queue=q)
    c.nothing(q)
    assert c.ok("PULLB", queue=q, count=1, timeout=0)["jobs"] == []
    d.send("PULL", queue=q, timeout=15_000)
    c.ok("RESUME", queue=q)
    assert d.read()["job"] is not None


def test_every_pull_has_a_lease_of_its_own(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "backoff": 0} for n in range(3)])
    job = c.pull(q)
    assert 0 < job["lease"] < 2**53
    c.ok("FAIL", id=job["id"])
    seen = [j["lease"] for j in c.drain(q)]
    assert all(isinstance(lease, int) and lease != job["lease"] for lease in seen)


def test_vanished_client_takes_no_job(way: Way, d: Peer, q: str) -> None:
    """F44."""
    with way.connect() as peer:
        peer.send("PULL", queue=q, timeout=60_000, reqId="p")
        peer.send("COUNT", queue=q, reqId="c")
        assert peer.read()["reqId"] == "c"
    d.send("PULL", queue=q, timeout=15_000)
    d.send("PUSH", queue=q, data="for the living")
    assert d.read()["job"]["data"] == "for the living"


def test_release_on_disconnect_gives_jobs_back_at_once(way: Way, d: Peer, q: str) -> None:
    d.push(q, 1)
    with way.connect() as peer:
        job = peer.pull(q, release_on_disconnect=True)
    again = d.pull(q, 15_000)
    assert again["id"] == job["id"]
    assert again["lease"] != job["lease"]
    assert d.refusal("ACK", id=job["id"], lease=job["lease"])["code"] == "lease_lost"
    d.ok("ACK", id=job["id"], lease=again["lease"])


def test_lease_outlives_its_connection_without_release_on_disconnect(way: Way, d: Peer, q: str) -> None:
    """Old SDKs pull on one connection and acknowledge on another."""
    d.push(q, 1)
    with way.connect() as peer:
        job = peer.pull(q)
    d.nothing(q)
    d.ok("ACK", id=job["id"])
    assert d.state(job["id"]) == "completed"
