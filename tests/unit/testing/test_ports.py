"""A killed server has to find its port again, whatever other tests and connections do meanwhile."""

import socket
import subprocess
import sys

from flashq.testing.ports import LAST, PortLease

TAKE = """
import sys
from flashq.testing import ports
ports._candidates = lambda: iter([int(sys.argv[1])])
try:
    print(ports.PortLease().port)
except OSError:
    print("taken")
"""


def in_another_process(port: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", TAKE, str(port)], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_leased_port_is_refused_to_other_processes_until_released() -> None:
    with PortLease() as lease:
        assert in_another_process(lease.port) == "taken"
        port = lease.port
    assert in_another_process(port) == str(port)


def test_port_in_use_without_a_lease_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert in_another_process(server.getsockname()[1]) == "taken"


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    with PortLease() as one, PortLease() as two:
        assert one.port != two.port
        assert max(one.port, two.port) < LAST
