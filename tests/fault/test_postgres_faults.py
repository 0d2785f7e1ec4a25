"""PostgreSQL that dies, hangs, cuts connections or forgets: what was acknowledged is there, once."""

import json
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from flashq.testing.postgres import PostgresServer
from flashq.testing.proxy import CuttingProxy
from tests.integration.wire import Wire

DEADLINE = {"FLASHQ_REQUEST_DEADLINE_MS": "500"}


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=True) as one:
        yield one


class Load:
    """Threads that push numbered jobs until told to stop, and note what became of each."""

    def __init__(self, cluster: Cluster, threads: int = 4) -> None:
        self._cluster = cluster
        self.acknowledged: dict[str, int] = {}
        """Name of the job -> its id."""
        self.asked: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(n,)) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _push(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            try:
                with Wire(self._cluster.connect()) as c:
                    while not self._stop.is_set():
                        count += 1
                        name = f"{number}-{count}"
                        self.asked.add(name)
                        reply = c.ask("PUSH", queue=f"q{number}", data=name)
                        if reply["ok"]:
                            self.acknowledged[name] = reply["id"]
                        else:
                            assert reply["code"] in ("unavailable", "timeout"), reply
            except (OSError, EOFError, json.JSONDecodeError):
                continue  # its shard was killed, or the connection cut: the outcome is not known

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def judge(cluster: Cluster, load: Load) -> None:
    """Every job that was acknowledged is there under its id, none twice, and none that nobody asked for."""
    found: dict[str, int] = {}
    with Wire(cluster.connect()) as c:
        for number in range(4):
            while jobs := c.ok("PULLB", queue=f"q{number}", count=1_000, timeout=0)["jobs"]:
                for job in jobs:
                    assert job["data"] not in found, f"{job['data']} is there twice"
                    found[job["data"]] = job["id"]
                c.ok("ACKB", ids=[job["id"] for job in jobs])
    assert len(load.acknowledged) > 100, "there was no load"
    assert {name: found.get(name) for name in load.acknowledged} == load.acknowledged
    assert found.keys() <= load.asked


def wait_acknowledged(cluster: Cluster, load: Load, more: int = 200) -> None:
    enough = len(load.acknowledged) + more
    cluster.wait_until(lambda: len(load.acknowledged) >= enough, f"{more} more jobs to be acknowledged", 30)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_killed_postmaster_loses_and_doubles_nothing(server: PostgresServer, driver: str) -> None:
    """Rows 8 and 10: kill -9 of the database under load, with its syncs on; flashq goes on by itself."""
    with Cluster(shards=2, settings={"DATABASE_URL": server.database(driver)}) as cluster:
        before = cluster.pids()
        load = Load(cluster)
        try:
            for _ in range(3):
                wait_acknowledged(cluster, load)
                server.kill()
                server.start()
            wait_acknowledged(cluster, load)
        finally:
            load.stop()
        judge(cluster, load)
        assert cluster.pids() == before, "a process died with the database"


def test_connections_cut_between_statement_and_answer_lose_and_double_nothing(server: PostgresServer) -> None:
    """The statement was carried out, and nobody was told: it is found out, not sent again."""
    name = server.database().rpartition("/")[2]
    with (
        CuttingProxy(server.port) as proxy,
        Cluster(shards=2, settings={"DATABASE_URL": server.url(name, port=proxy.port)}) as cluster,
    ):
        load = Load(cluster)
        try:
            for _ in range(20):
                wait_acknowledged(cluster, load, 50)
                proxy.cut_before_next_answer()
            wait_acknowledged(cluster, load)
        finally:
            load.stop()
        assert proxy.cuts >= 20
        judge(cluster, load)


def test_killed_shards_lose_and_double_nothing(server: PostgresServer) -> None:
    with Cluster(shards=2, settings={"DATABASE_URL": server.database()}) as cluster:
        load = Load(cluster)
        try:
            for shard in ("shard-00", "shard-01") * 2:
                wait_acknowledged(cluster, load, 50)
                cluster.wait_serving(shard, other_than=cluster.kill(shard))
        finally:
            load.stop()
        judge(cluster, load)


def test_requests_get_unavailable_after_their_deadline_and_work_goes_on_later(server: PostgresServer) -> None:
    """A database that hangs: no client waits for ever, and what it held back is carried out once."""
    with Cluster(shards=1, settings=DEADLINE | {"DATABASE_URL": server.database()}) as cluster:
        with Wire(cluster.connect()) as c, Wire(cluster.connect()) as reader:
            c.ok("PUSH", queue="q", data=0)
            server.signal_all(signal.SIGSTOP)
            try:
                c.send("PUSH", queue="q", data=1)
                reader.send("COUNT", queue="q", reqId="7")
                late = c.read()
                assert (late["ok"], late["code"]) == (False, "unavailable")
                assert "not known" in late["error"]
                read = reader.read()
                assert (read["ok"], read["code"], read["reqId"]) == (False, "unavailable", "7")
                refused = c.refused("PUSH", queue="q", data=2, reqId="8")
                assert (refused["code"], refused["reqId"]) == ("unavailable", "8")
                assert "nothing is done" in refused["error"]
            finally:
                server.signal_all(signal.SIGCONT)
            cluster.wait_until(lambda: c.ask("PUSH", queue="q", data=3)["ok"], "pushes to be accepted again")
            jobs = c.ok("PULLB", queue="q", count=10)["jobs"]
        assert [job["data"] for job in jobs] == [0, 1, 3]


def test_jobs_of_a_pull_that_was_given_up_wait_again(server: PostgresServer) -> None:
    """Nobody was told of them, so nobody has them."""
    settings = DEADLINE | {"DATABASE_URL": server.database()}
    with Cluster(shards=1, settings=settings) as cluster, Wire(cluster.connect()) as c:
        c.ok("PUSH", queue="q", data=0)
        server.signal_all(signal.SIGSTOP)
        try:
            c.send("PULL", queue="q", timeout=0)
            assert c.read()["code"] == "unavailable"
        finally:
            server.signal_all(signal.SIGCONT)
        cluster.wait_until(lambda: c.ask("COUNT", queue="q")["ok"], "answers")
        assert c.ok("PULL", queue="q", timeout=5_000)["job"]["data"] == 0


def test_database_without_an_acknowledged_record_is_refused_until_that_is_accepted(server: PostgresServer) -> None:
    """Row 9: a standby that was behind, or a backup, is not taken for the truth in silence."""
    url = server.database()
    name = url.rpartition("/")[2]
    with Cluster(shards=1, settings={"DATABASE_URL": url}) as cluster:
        with Wire(cluster.connect()) as c:
            for n in range(5):
                c.ok("PUSH", queue="q", data=n)
        cluster.kill_all()
        (last,) = server.run(name, "SELECT max(seq) FROM flashq.journal")[0]
        assert isinstance(last, int)
        server.run(name, f"DELETE FROM flashq.journal WHERE seq = {last}")
        cluster.launch()
        cluster.wait_output("refuses to serve and stays down")
        assert f"ends with record {last - 1}, but record {last} was acknowledged" in cluster.output()
        cluster.wait_until(lambda: not cluster.running(), "the cluster to end, as nothing can serve")
        (cluster.data / "shard-00" / "acknowledged").unlink()
        cluster.start()
        with Wire(cluster.connect()) as c:
            assert [job["data"] for job in c.ok("PULLB", queue="q", count=10)["jobs"]] == [0, 1, 2, 3]


def test_running_shard_refuses_a_database_that_went_back(server: PostgresServer) -> None:
    """The same, found out by a process that never stopped."""
    url = server.database()
    name = url.rpartition("/")[2]
    with CuttingProxy(server.port) as proxy:
        settings = {"DATABASE_URL": server.url(name, port=proxy.port)}
        with Cluster(shards=1, settings=settings) as cluster, Wire(cluster.connect()) as c:
            for n in range(5):
                c.ok("PUSH", queue="q", data=n)
            server.run(name, "DELETE FROM flashq.journal WHERE seq = (SELECT max(seq) FROM flashq.journal)")
            proxy.cut_all()
            cluster.wait_output("was acknowledged: it was restored or promoted without it")


def test_socket_of_nothing_is_no_database() -> None:
    """A port on which nobody speaks PostgreSQL is told in a line, not waited for."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://flashq:secret@127.0.0.1:{deaf.getsockname()[1]}/x"
        cluster = Cluster(shards=1, settings={"DATABASE_URL": url})
        try:
            cluster.launch()
            cluster.wait_until(lambda: not cluster.running(), "the start to be given up", 15)
            assert "secret" not in cluster.output()
            assert "timeout expired" in cluster.output()
        finally:
            cluster.close()
