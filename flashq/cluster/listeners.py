"""The doors, opened once by the supervisor and shared by all routers, so that a router may die with none lost.

Without SO_REUSEPORT: with it a second cluster would bind the same port in silence and take half the clients.
"""

import errno
import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from flashq.config import Settings
from flashq.errors import ConfigError

BACKLOG: Final = 4096
KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_PROBES: Final = 3
"""A peer that is gone without a word is found 30 + 3 * 10 s after its last one."""


STREAM: Final = "stream"
"""Doors of TCP and Unix sockets: the routers'."""
HTTP: Final = "http"
GRPC: Final = "grpc"


def open_doors(settings: Settings, kinds: Iterable[str]) -> dict[str, list[socket.socket]]:
    """The doors of these kinds, listening. Raises ConfigError as `open_listeners` does."""
    opened: dict[str, list[socket.socket]] = {}
    try:
        for kind in kinds:
            opened[kind] = _OPEN[kind](settings)
    except BaseException:
        for listeners in opened.values():
            close_listeners(listeners)
        raise
    return opened


def open_listeners(settings: Settings) -> list[socket.socket]:
    """The doors of streams, listening. Raises ConfigError, one line, for an address that is taken or cannot be had."""
    opened = [open_tcp(settings.host, settings.port)]
    try:
        if settings.unix_socket is not None:
            opened.append(open_unix(settings.unix_socket))
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def open_http(settings: Settings) -> list[socket.socket]:
    """The door of HTTP, listening. Raises ConfigError as `open_listeners` does."""
    return [open_tcp(settings.host, settings.http_port, "http_port")]


def open_grpc(settings: Settings) -> list[socket.socket]:
    """The port of gRPC, held but not listening. Raises ConfigError as `open_listeners` does.

    gRPC opens its listener itself. Two sockets may have one port while none or one of them listens: so ours keeps it,
    also while the process is down, and a port where somebody listens is found before anything is started.
    """
    return [open_tcp(settings.host, settings.grpc_port, "grpc_port", listening=False)]


_OPEN: Final = {STREAM: open_listeners, HTTP: open_http, GRPC: open_grpc}


def open_tcp(host: str, port: int, name: str = "port", *, listening: bool = True) -> socket.socket:
    """A TCP socket at a port, listening unless told otherwise; `name` is the setting its port comes from."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(f"host = {host!r}: {error.strerror}") from error
    sock = socket.socket(family, kind, proto)
    try:
        _prepare_tcp(sock)
        sock.bind(address)
        if listening:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        taken = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigError(f"{name} = {port}: cannot listen on {host}:{port}: {taken}") from error
    return sock


def _prepare_tcp(sock: socket.socket) -> None:
    """Options of the listener; on Linux each accepted connection starts with them, without a call of its own."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    # Keepalive does not probe while something unacknowledged is under way: this ends that, in the same time.
    limit_ms = 1_000 * (KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)


def open_unix(path: Path) -> socket.socket:
    """A listening Unix socket. A stale file in its place is replaced, one that somebody serves is refused."""
    _make_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"unix_socket = {path}: {error.strerror or error}") from error
    return sock


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"unix_socket = {path}: there is a file of another kind in its place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN: somebody serves it, with a full backlog.
        if probe.connect_ex(str(path)) in (0, errno.EAGAIN):
            raise ConfigError(f"unix_socket = {path}: another process listens there")
    path.unlink()


def address_of(sock: socket.socket) -> str:
    """The address as clients write it: "host:port", or the path."""
    name = sock.getsockname()
    if isinstance(name, str):
        return name
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def close_listeners(listeners: list[socket.socket]) -> None:
    """Shut the doors for good, and remove the path of a Unix socket. A second call does nothing."""
    for sock in listeners:
        if sock.fileno() < 0:
            continue
        path = Path(sock.getsockname()) if sock.family == socket.AF_UNIX else None
        sock.close()
        if path is not None:
            path.unlink(missing_ok=True)
