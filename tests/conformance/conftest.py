"""The suite runs every test over both codecs and all ways through a server: one of its own, or CONFORMANCE_ADDR.

Over Unix sockets, HTTP and gRPC it runs what those can say (absent.py), for a server of its own. With all other tests
a small part of that is run too (SAMPLE); the whole is `make conformance`.

Settings are environment variables: CONFORMANCE_ADDR (host:port of a running server; none: a cluster is started),
CONFORMANCE_SHARDS (of that server or for ours; default 2), CONFORMANCE_DATABASE (psycopg or psycopg2: ours keep their
jobs in a PostgreSQL that is started, by this driver; none: in files). At the end stands a count per section, codec and
path.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from flashq.testing.cluster import Cluster
from tests.conformance.absent import lacks
from tests.conformance.peer import CODECS, MSGPACK, TEXT, Peer
from tests.conformance.ways import (
    ADDR,
    DOOR_WAYS,
    DRIVER,
    GRPC,
    HTTP,
    ROUTES,
    SHARDS,
    TCP_WAYS,
    Address,
    Way,
)  # fmt: skip

COLUMNS: Final = tuple("-".join(way) for way in (*TCP_WAYS, *DOOR_WAYS))
SAMPLED: Final = ((TEXT, HTTP), (TEXT, ROUTES), (MSGPACK, GRPC))
"""Ways of which a part is run with all tests."""
SAMPLE: Final = ("test_s2_ack.py", "test_s2_kv.py", "test_s11_faults.py")
"""That part: each file costs a cluster."""
_sampled: set[tuple[str, tuple[str, str]]] = set()
OWN_SERVER: Final = "own_server"
"""Mark of tests that need a server with settings of their own, or that kill it: not for one at an address."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `way` runs on each; `@pytest.mark.codec(...)` leaves one codec."""
    if "way" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("codec")
    codecs = mark.args if mark else CODECS
    ways = [way for way in TCP_WAYS if way[0] in codecs]
    if not ADDR and not metafunc.definition.get_closest_marker(OWN_SERVER):
        ways += [(codec, door) for codec, door in DOOR_WAYS if codec in codecs]
    metafunc.parametrize("way", ways, indirect=True, ids="-".join, scope="function")


def _cannot(item: pytest.Item) -> bool:
    """Whether its door cannot say what it needs."""
    callspec = getattr(item, "callspec", None)
    way = callspec.params.get("way") if callspec is not None else None
    return way is not None and way in DOOR_WAYS and bool(lacks(way[1], item.nodeid))


def is_sample(item: pytest.Item) -> bool:
    """Whether it is run with all tests too: each claim once over each other door, by the first of its examples."""
    callspec = getattr(item, "callspec", None)
    way = callspec.params.get("way") if callspec is not None else None
    file = item.nodeid.partition("::")[0].rpartition("/")[2]
    if way not in SAMPLED or file not in SAMPLE or item.get_closest_marker("slow"):
        return False
    claim = (item.nodeid.partition("[")[0], way)
    first = claim not in _sampled
    _sampled.add(claim)
    return first


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here, but for the part that is run with all tests; leave out what is not for an address."""
    here = [item for item in items if "tests/conformance/" in item.nodeid]
    for item in here:
        if not is_sample(item):
            item.add_marker("conformance")
    cannot = [item for item in here if _cannot(item)]
    items[:] = [item for item in items if item not in set(cannot)]
    if ADDR:
        left_out = [item for item in here if item.get_closest_marker(OWN_SERVER)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that say where a server of our own keeps its jobs."""
    return {"DATABASE_URL": request.getfixturevalue("postgres").database(DRIVER)} if DRIVER else {}


@pytest.fixture(scope="module")
def own_store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The same, for a second server of a file."""
    return {"DATABASE_URL": request.getfixturevalue("postgres").database(DRIVER)} if DRIVER else {}


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Iterator[Address]:
    """The server that is asked; one of our own lives for one file, as a shard lists its first thousand queues only."""
    if ADDR:
        host, _, port = ADDR.rpartition(":")
        yield Address(host or "127.0.0.1", int(port), SHARDS)
        return
    store = request.getfixturevalue("store")
    with Cluster(shards=SHARDS, durability="commit", settings=store, unix=True, http=True, grpc=True) as cluster:
        address = Address(
            "127.0.0.1", cluster.port, SHARDS, http_port=cluster.http_port, grpc_port=cluster.grpc_port,
            unix=cluster.unix_path,
        )  # fmt: skip
        yield address
        address.close()


@pytest.fixture
def way(request: pytest.FixtureRequest, address: Address) -> Way:
    """One codec and one path."""
    return Way(address, *request.param)


@pytest.fixture
def c(way: Way) -> Iterator[Peer]:
    """A connection on this way."""
    with way.connect() as peer:
        yield peer


@pytest.fixture
def d(way: Way) -> Iterator[Peer]:
    """A second connection on this way."""
    with way.connect() as peer:
        yield peer


@pytest.fixture
def q(way: Way) -> str:
    """A queue nobody has used."""
    return way.queue()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say per section how many passed and failed, by codec and path."""
    tables = {outcome: _counted(terminalreporter, outcome) for outcome in ("passed", "failed", "error")}
    sections = sorted({section for table in tables.values() for section, _ in table} - {"all"})
    if not sections:
        return
    columns = [*COLUMNS, "one way"]
    terminalreporter.section("conformance: passed per section (failed after a slash)")
    terminalreporter.write_line(f"{'section':<26}" + "".join(f"{column:>16}" for column in columns))
    for section in [*sections, "all"]:
        cells = [_cell(tables, section, column) for column in columns]
        terminalreporter.write_line(f"{section:<26}" + "".join(f"{cell:>16}" for cell in cells))


def _counted(reporter: pytest.TerminalReporter, outcome: str) -> Counter[tuple[str, str]]:
    """How many tests of each (section, column) had this outcome; "all" sums up the sections."""
    counted: Counter[tuple[str, str]] = Counter()
    for report in reporter.stats.get(outcome, []):
        if "tests/conformance/" not in report.nodeid:
            continue
        file, _, rest = report.nodeid.partition("::")
        section = file.rpartition("/test_")[2].removesuffix(".py")
        column = next((one for one in COLUMNS if one in rest), "one way")
        counted[section, column] += 1
        counted["all", column] += 1
    return counted


def _cell(tables: Mapping[str, Counter[tuple[str, str]]], section: str, column: str) -> str:
    passed = tables["passed"][section, column]
    failed = tables["failed"][section, column] + tables["error"][section, column]
    return f"{passed}/{failed}" if failed else str(passed or "-")
