"""Doors: opened once, refused clearly, left tidy."""

import socket
from pathlib import Path

import pytest

from flashq.cluster.listeners import address_of, close_listeners, open_listeners, open_tcp, open_unix
from flashq.config import Settings
from flashq.errors import ConfigError


def test_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with open_tcp("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^port = {port}: .*another process listens there$"):
            open_tcp("127.0.0.1", port)


def test_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match="Cannot assign requested address"):
        open_tcp("192.0.2.1", 0)


def test_port_of_connections_that_just_ended_can_be_had_again() -> None:
    """A restart must not wait for the minute that TCP remembers its last connections."""
    with open_tcp("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = first.accept()
        served.close()
        client.close()
    open_tcp("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("level", "option", "value"),
    [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
    ],
)
def test_accepted_connection_has_the_options_of_its_listener(level: int, option: int, value: int) -> None:
    """A half-open one is found in 60 s, and nobody has to set anything on each connection."""
    with open_tcp("127.0.0.1", 0) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
        assert served.getsockopt(level, option) == value
        served.close()
        client.close()


def test_stale_unix_socket_is_replaced(run_folder: Path) -> None:
    path = run_folder / "door"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    listener = open_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_listeners([listener])
    assert not path.exists()


def test_unix_socket_that_is_served_is_refused(run_folder: Path) -> None:
    listener = open_unix(run_folder / "door")
    with pytest.raises(ConfigError, match="another process listens there"):
        open_unix(run_folder / "door")
    close_listeners([listener])


def test_file_in_place_of_a_unix_socket_is_not_removed(run_folder: Path) -> None:
    (run_folder / "door").write_text("precious")
    with pytest.raises(ConfigError, match="a file of another kind"):
        open_unix(run_folder / "door")
    assert (run_folder / "door").read_text() == "precious"


def test_folder_that_is_not_there_is_a_clear_line(run_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"unix_socket = .*: No such file or directory"):
        open_unix(run_folder / "none" / "door")


def test_one_door_that_fails_shuts_the_other(run_folder: Path) -> None:
    (run_folder / "door").touch()
    with open_tcp("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(ConfigError):
        open_listeners(Settings(port=port, unix_socket=run_folder / "door"))
    open_tcp("127.0.0.1", port).close()


def test_address_is_written_as_clients_write_it(run_folder: Path) -> None:
    with open_tcp("127.0.0.1", 0) as v4, open_tcp("::1", 0) as v6, open_unix(run_folder / "door") as path:
        assert address_of(v4) == f"127.0.0.1:{v4.getsockname()[1]}"
        assert address_of(v6) == f"[::1]:{v6.getsockname()[1]}"
        assert address_of(path) == str(run_folder / "door")
