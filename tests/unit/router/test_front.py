"""Which connection goes where, and what becomes of it while its shard is down."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from flashq.access.access import Access
from flashq.cluster.slot_map import first_map
from flashq.config import Settings
from flashq.protocol.slots import job_id, slot_of_queue
from flashq.router.front import Front
from flashq.router.waiting import Waiting
from flashq.transport.child import ChildContext, Control, PeerGone, PeerReady, Stop, control_pair, encode
from flashq.transport.shared_memory import SharedState

SHARDS = 4


class Recorder:
    """A gateway, and shards, that note what they are given."""

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        self.access = Access(tokens)
        self.kept: list[tuple[bytes, int]] = []
        self.passed: list[tuple[int, bytes, int]] = []
        self.peers: list[PeerGone | PeerReady] = []
        self.full: set[int] = set()
        self.life: list[str] = []

    speaks_tls = False

    async def start(self) -> None:
        self.life.append("start")

    async def stop(self) -> None:
        self.life.append("stop")

    def keep(self, sock: socket.socket, data: bytes, gid: int) -> None:
        self.kept.append((data, gid))
        sock.close()

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        self.peers.append(order)

    def hand_over(self, shard: int, arrived: Waiting) -> bool:
        if shard in self.full:
            return False
        self.passed.append((shard, arrived.data, arrived.gid))
        return True


class House:
    """A front with its door, its supervisor and its shared state."""

    def __init__(self, run: Path, settings: Settings) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.ours, theirs = control_pair()
        ctx = ChildContext(settings, "router-0", 0, 5, run, Control(theirs), (listener,))
        owners = first_map(SHARDS).owners
        self.state = SharedState.create(run, shards=SHARDS, owners=owners, slots_version=1, durability="memory")
        self.seen = Recorder(settings.auth_tokens)
        self.front = Front(ctx, self.state, self.seen, self.seen.hand_over)
        self.control = ctx.control
        self.clients: list[socket.socket] = []

    def client(self, data: bytes) -> None:
        client = socket.create_connection(self.address, 10)
        client.sendall(data)
        self.clients.append(client)

    def order(self, *orders: PeerGone | PeerReady | Stop) -> None:
        for order in orders:
            self.ours.send(encode(order))

    def up(self, *shards: int) -> None:
        self.order(*(PeerReady(f"shard-{shard:02}", 9) for shard in shards))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    def close(self) -> None:
        self.control.close()
        self.ours.close()
        self.state.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def in_house(run_folder: Path) -> Callable[..., None]:
    def run_test(test: Callable[[House], Coroutine[Any, Any, None]], settings: Settings | None = None) -> None:
        async def run() -> None:
            house = House(run_folder, settings or Settings(shards=SHARDS))
            await house.front.start()
            try:
                await test(house)
            finally:
                await house.front.stop()
                house.close()

        asyncio.run(run())

    return run_test


def push(queue: str) -> bytes:
    return b'{"cmd":"PUSH","queue":"%b","data":1}\n' % queue.encode()


def test_connection_goes_to_the_shard_that_owns_its_first_queue_or_job(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        house.up(*range(SHARDS))
        await house.until(lambda: len(house.seen.peers) == SHARDS)
        ack = b'{"cmd":"ACK","id":%d}\n' % job_id(8, 6)
        for data in (push("mail"), ack):
            house.client(data)
        await house.until(lambda: len(house.seen.passed) == 2)
        places = {data: shard for shard, data, _ in house.seen.passed}
        assert places == {push("mail"): slot_of_queue("mail") % SHARDS, ack: 6 % SHARDS}

    in_house(test)


def test_every_connection_has_an_id_of_its_own_that_tells_the_incarnation(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        house.up(*range(SHARDS))
        await house.until(lambda: len(house.seen.peers) == SHARDS)
        for n in range(10):
            house.client(push(f"q{n}"))
        house.client(b'{"cmd":"STATS"}\n')
        await house.until(lambda: len(house.seen.passed) == 10 and house.seen.kept)
        gids = [gid for *_, gid in house.seen.passed] + [gid for _, gid in house.seen.kept]
        assert sorted(gid - (5 << 32) for gid in gids) == list(range(1, 12))

    in_house(test)


@pytest.mark.parametrize("data", [b'{"cmd":"STATS"}\n', b'{"cmd":"PING"}\n', b"\n", b"nonsense", b'{"cmd":"AUTH"'])
def test_connection_that_names_no_slot_stays(in_house: Callable[..., None], data: bytes) -> None:
    async def test(house: House) -> None:
        house.client(data)
        house.clients[0].shutdown(socket.SHUT_WR)
        await house.until(lambda: house.seen.kept)
        assert house.seen.kept[0][0] == data

    in_house(test)


def test_with_tokens_no_connection_leaves_before_it_is_known_whose_it_is(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        house.up(*range(SHARDS))
        await house.until(lambda: len(house.seen.peers) == SHARDS)
        house.client(push("mail"))
        await house.until(lambda: house.seen.kept)
        assert not house.seen.passed

    in_house(test, Settings(shards=SHARDS, auth_tokens=("t" * 32,)))


def test_connection_to_a_shard_that_is_down_waits_for_it(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        shard = slot_of_queue("mail") % SHARDS
        others = [one for one in range(SHARDS) if one != shard]
        house.up(*range(SHARDS))
        house.order(PeerGone(f"shard-{shard:02}", 9))
        await house.until(lambda: len(house.seen.peers) == SHARDS + 1)
        house.client(push("mail"))
        await house.until(lambda: house.front._room.waiting == 1)
        other = next(q for q in map(str, range(100)) if slot_of_queue(q) % SHARDS == others[0])
        house.client(push(other))
        await house.until(lambda: house.seen.passed)
        assert [where for where, *_ in house.seen.passed] == [others[0]]
        house.up(shard)
        await house.until(lambda: len(house.seen.passed) == 2)
        assert house.seen.passed[1][:2] == (shard, push("mail"))

    in_house(test)


def test_connection_that_waits_too_long_is_answered_by_the_gateway(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        house.client(push("mail"))
        await house.until(lambda: house.seen.kept)
        assert house.seen.kept[0][0] == push("mail")

    in_house(test, Settings(shards=SHARDS, request_deadline_ms=50))


def test_shard_with_a_full_line_gets_its_connections_in_order_later(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        shard = slot_of_queue("mail") % SHARDS
        house.seen.full.add(shard)
        house.up(shard)
        await house.until(lambda: house.seen.peers)
        for _ in range(3):
            house.client(push("mail"))
        await house.until(lambda: house.front._room.waiting == 3)
        house.seen.full.clear()
        await house.until(lambda: len(house.seen.passed) == 3)
        gids = [gid for *_, gid in house.seen.passed]
        assert gids == sorted(gids)

    in_house(test)


def test_stop_is_heard_and_gives_up_who_waits(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        house.client(push("mail"))
        await house.until(lambda: house.front._room.waiting == 1)
        house.order(Stop())
        async with asyncio.timeout(10):
            await house.front.stop_ordered.wait()
        await house.front.stop()
        assert [data for data, _ in house.seen.kept] == [push("mail")]
        assert house.seen.life == ["start", "stop"]
        with pytest.raises(ConnectionError):
            socket.create_connection(house.address, 1)

    in_house(test)
