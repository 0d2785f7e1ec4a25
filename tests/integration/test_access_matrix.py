"""The matrix, walked: every door, everything that can be asked there, every role, and somebody of another tenant."""

import contextlib
import json
from collections.abc import Iterator

import pytest
import websockets.exceptions
from websockets.sync.client import connect

from flashq.access.needs import COMMANDS, On
from flashq.access.scopes import ROLES, Verb
from flashq.cli.matrix import Row, rows
from flashq.testing.cluster import Cluster
from tests.integration.access_kit import ROOT, World, made, route_of, shown
from tests.integration.web import Web
from tests.integration.wire import BINARY, TEXT, Wire

STOPS = ("POST /server/shutdown", "POST /server/restart")
PROVES = "POST /webhooks/incoming/{queue}"
"""Whoever asks has to prove himself with the queue's own secret, whatever token he shows."""
MATRIX = [row for row in rows() if row.route not in (*STOPS, PROVES)]
HTTP = [row for row in MATRIX if row.door == "HTTP"]
STREAMS = [row for row in MATRIX if row.door in ("SSE", "WebSocket")]
TENANT = "tenant"
STRANGER = "stranger"
WHO = (*ROLES, TENANT, STRANGER)


class House:
    """A cluster with one token of each role, one of another tenant, and everything one could ask about."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tokens = {role: made(cluster, role, role=role) for role in ROLES}
        scopes = [f"{verb}:other-*" for verb in Verb if verb is not Verb.ADMIN]
        self.tokens[TENANT] = made(cluster, TENANT, scopes=scopes)
        self.tokens[STRANGER] = ""
        # A queue of the other shard than the first, so that by TCP half of the walk is forwarded.
        prefix = next(f"mine{n}" for n in range(100) if cluster.owner(f"mine{n}-q") == 1)
        self.world = World(shown(cluster, ROOT), prefix)

    def allowed(self, row: Row, who: str) -> bool:
        """What the matrix says."""
        if who in ROLES:
            return row.roles[who]
        return row.need.on is On.NOTHING or (who == TENANT and row.need.on is On.SOME)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    settings = {"AUTH_TOKENS": ROOT}
    with Cluster(shards=2, durability="commit", http=True, unix=True, settings=settings) as cluster:
        house = House(cluster)
        with house.world.root:
            yield house


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("door", ["tcp-text", "tcp-binary", "unix"])
def test_every_command_over_a_stream_is_for_whom_the_matrix_says(house: House, door: str, who: str) -> None:
    codec = BINARY if door == "tcp-binary" else TEXT
    wrong = []
    with shown(house.cluster, house.tokens[who], codec, unix=door == "unix") as wire:
        for row in (row for row in MATRIX if row.door == "TCP, Unix"):
            house.world.fresh()
            reply = wire.ask(row.route, **house.world.fields(row.route, house.tokens[who] or ROOT + "x"))
            while "event" in reply:  # whoever may subscribe has done so
                reply = wire.read()
            wanted = "" if house.allowed(row, who) else "forbidden" if house.tokens[who] else "unauthenticated"
            if who == STRANGER and row.route != "PING":
                wanted = "unauthenticated"
            code = reply.get("code", "")
            if (code if code in ("forbidden", "unauthenticated") else "") != wanted:
                wrong.append((row.route, wanted, reply))
            if wanted == "forbidden":
                assert "lacks the scope " + row.need.verb in reply["error"], reply
                assert house.world.queue not in reply["error"] or row.need.on is not On.JOB, "it tells of whom a job is"
    assert wrong == []


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_every_route_of_http_is_for_whom_the_matrix_says(house: House, prefix: str, who: str) -> None:
    wrong = []
    with Web(house.cluster, house.tokens[who]) as web:
        for row in HTTP:
            house.world.fresh()
            method, _, rest = row.route.partition(" ")
            if rest.startswith("/api/command "):
                command = rest.partition(" ")[2]
                path = f"{prefix}/command" if prefix else "/api/command"
                fields = house.world.fields(command, house.tokens[who] or "none")
                answer = web.ask(method, path, {"cmd": command, **fields})
            else:
                route = route_of(method, rest)
                path = prefix + house.world.path(rest)
                if route is not None and route.command == "PULLB":
                    path += "?timeout=0"
                if route is not None and route.command == "WAITJOB":
                    path += "?timeout=0"
                body = None if method == "GET" else house.world.body(route) if route is not None else _page_body(rest)
                answer = web.ask(method, path, body)
            code = _code(answer.status, answer.body)
            wanted = "" if house.allowed(row, who) else "forbidden" if house.tokens[who] else "unauthenticated"
            if who == STRANGER and (rest.startswith("/api/command ") or route_of(method, rest) is not None):
                wanted = "unauthenticated"
            if code != wanted:
                wrong.append((row.route, wanted, answer))
    assert wrong == []


def _page_body(path: str) -> object:
    return {"name": "x", "role": "none"} if path == "/tokens" else {"queues": [], "concurrency": 1}


def _code(status: int, body: bytes) -> str:
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        code = found.get("code", "") if isinstance(found, dict) else ""
        if code in ("forbidden", "unauthenticated"):
            return str(code)
    return {401: "unauthenticated", 403: "forbidden"}.get(status, "")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("row", STREAMS, ids=lambda row: f"{row.door} {row.route}")
def test_every_stream_of_events_is_for_whom_the_matrix_says(house: House, row: Row, who: str) -> None:
    house.world.fresh()
    path = house.world.path(row.route.removeprefix("GET "))
    token = house.tokens[who]
    if row.door == "SSE":
        with Web(house.cluster, token) as web:
            web.send("GET", path)
            status = web.http.getresponse().status
    else:
        status = _handshake(house.cluster, path, token or "none")
    assert status == ((101 if row.door == "WebSocket" else 200) if house.allowed(row, who) else 403 if token else 401)


def _handshake(cluster: Cluster, path: str, token: str) -> int:
    try:
        with connect(f"ws://127.0.0.1:{cluster.http_port}{path}?token={token}"):
            return 101
    except websockets.exceptions.InvalidStatus as refused:
        return refused.response.status_code


def test_matrix_has_all_commands_at_all_doors() -> None:
    for door, form in (
        ("TCP, Unix", "{}"), ("HTTP", "POST /api/command {}"), ("gRPC", "CommandService/Command {}"),
        ("gRPC", "CommandService/Session {}"),
    ):  # fmt: skip
        routes = {row.route for row in MATRIX if row.door == door}
        missing = {c for c in COMMANDS if form.format(c) not in routes} - {"SUBSCRIBE", "UNSUBSCRIBE"}
        assert missing == set()


def test_server_is_stopped_by_an_admin_alone() -> None:
    with Cluster(shards=1, durability="memory", http=True, settings={"AUTH_TOKENS": ROOT}) as cluster:
        for role in ("viewer", "operator"):
            with Web(cluster, made(cluster, role, role=role)) as web:
                for route in STOPS:
                    assert web.refused(*route.split(), status=403)["code"] == "forbidden"
        assert cluster.running()
        with Web(cluster, made(cluster, "boss", role="admin")) as web:
            web.ok("POST", "/server/shutdown")
        cluster.wait_until(lambda: not cluster.running(), "the cluster to stop")


def test_webhook_that_comes_in_asks_for_the_queues_secret_not_for_a_token(house: House) -> None:
    for who in WHO:
        with Web(house.cluster, house.tokens[who]) as web:
            web.refused("POST", house.world.path(PROVES.removeprefix("POST ")), {}, status=401)


def test_own_queues_are_reached_wherever_they_are(house: House) -> None:
    """The other half of the tenant's row: what is his he may do, on every shard, by each door."""
    scopes = ["push:own-*", "work:own-*", "read:own-*"]
    token = made(house.cluster, "owner", scopes=scopes)
    for shard in (0, 1):
        queue = next(house.cluster.queues_of(shard, "own-"))
        with shown(house.cluster, token) as wire:
            ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(3)])["ids"]
            job = wire.ok("PULL", queue=queue, timeout=0)["job"]
            wire.ok("ACK", id=job["id"], lease=job["lease"])
            assert wire.ok("GETSTATE", id=ids[1])["state"] == "waiting"
            wire.ok("PULLB", queue=queue, count=2, timeout=0)
        with Web(house.cluster, token) as web:
            assert web.ok("POST", "/jobs/ack-batch", {"ids": ids[1:]}) == 2


def test_batch_with_one_job_of_somebody_else_changes_nothing(house: House) -> None:
    token = made(house.cluster, "half", scopes=["push:half-*", "work:half-*"])
    queue = next(house.cluster.queues_of(1, "half-"))
    house.world.fresh()
    with shown(house.cluster, token) as wire:
        mine = wire.ok("PUSH", queue=queue, data=1)["id"]
        reply = wire.ok("ACKB", ids=[mine, house.world.job_id])
    assert reply["count"] == 0
    assert [(e["index"], e["code"]) for e in reply["errors"]] == [(0, "forbidden"), (1, "forbidden")]
    for job_id in (mine, house.world.job_id):
        assert house.world.root.ok("GETSTATE", id=job_id)["state"] == "waiting"


def test_batch_over_shards_says_of_each_job_whether_it_was_allowed(house: House) -> None:
    token = made(house.cluster, "third", scopes=["push:third-*", "work:third-*"])
    queue = next(house.cluster.queues_of(0, "third-"))
    house.world.fresh()
    with shown(house.cluster, token) as wire:
        mine = wire.ok("PUSH", queue=queue, data=1)["id"]
        wire.ok("PULL", queue=queue, timeout=0)
        reply = wire.ok("ACKB", ids=[mine, house.world.job_id])
    assert reply["count"] == 1, reply
    assert [(e["index"], e["code"]) for e in reply["errors"]] == [(1, "forbidden")]
    assert house.world.root.ok("GETSTATE", id=house.world.job_id)["state"] == "waiting"


def test_name_of_anothers_job_does_not_show_it(house: House) -> None:
    """A push with a name that is taken answers with the job that has it, on HTTP with all of it."""
    house.world.fresh()
    for shard in (0, 1):
        token = made(house.cluster, f"namer-{shard}", scopes=["push:namer*", "read:namer*"])
        queue = next(house.cluster.queues_of(shard, "namer"))
        with Web(house.cluster, token) as web:
            answer = web.ask("POST", f"/queues/{queue}/jobs", {"data": 1, "job_id": house.world.name})
        assert b"secret" not in answer.body


def _forwards(wire: Wire, queue: str) -> None:
    for _ in range(200):
        wire.ok("COUNT", queue=queue)


def test_identity_goes_along_when_a_connection_is_handed_on(house: House) -> None:
    """After many requests for one shard the connection lives there: still as who it was, and no more."""
    token = made(house.cluster, "mover", scopes=["read:mover*"])
    for shard in (0, 1):
        queue = next(house.cluster.queues_of(shard, "mover"))
        with shown(house.cluster, token) as wire:
            _forwards(wire, queue)
            assert wire.refused("PUSH", queue=queue, data=1)["code"] == "forbidden"
            assert wire.refused("COUNT", queue=house.world.queue)["code"] == "forbidden"
            house.world.fresh()
            assert wire.refused("GETJOB", id=house.world.job_id)["code"] == "forbidden"
            _forwards(wire, queue)
