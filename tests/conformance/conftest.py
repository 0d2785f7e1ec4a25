"""The suite runs every test over both codecs and all ways through a server: one of its own, or CONFORMANCE_ADDR.

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
from tests.conformance.peer import CODECS, Peer
from tests.conformance.ways import ADDR, DRIVER, PATHS, SHARDS, Address, Way

OWN_SERVER: Final = "own_server"
"""Mark of tests that need a server with settings of their own, or that kill it: not for one at an address."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `way` runs on each; `@pytest.mark.codec(...)` leaves one codec."""
    if "way" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("codec")
    codecs = mark.args if mark else CODECS
    ways = [(codec, path) for codec in codecs for path in PATHS]
    metafunc.parametrize("way", ways, indirect=True, ids="-".join, scope="function")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here, and leave out what a server at an address cannot be asked."""
    here = [item for item in items if "tests/conformance/" in item.nodeid]
    for item in here:
        item.add_marker("conformance")
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
    with Cluster(shards=SHARDS, durability="commit", settings=store) as cluster:
        yield Address("127.0.0.1", cluster.port, SHARDS)


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
    columns = [f"{codec}-{path}" for codec in CODECS for path in PATHS] + ["one way"]
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
        column = next((f"{k}-{p}" for k in CODECS for p in PATHS if f"{k}-{p}" in rest), "one way")
        counted[section, column] += 1
        counted["all", column] += 1
    return counted


def _cell(tables: Mapping[str, Counter[tuple[str, str]]], section: str, column: str) -> str:
    passed = tables["passed"][section, column]
    failed = tables["failed"][section, column] + tables["error"][section, column]
    return f"{passed}/{failed}" if failed else str(passed or "-")
