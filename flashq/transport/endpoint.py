"""Socket files in the run folder: short paths, mode 0600, and a successor that takes a name over atomically."""

import os
import socket
from pathlib import Path
from typing import Final

from flashq.errors import ConfigError

PATH_BYTES_MAX: Final = 107
"""Linux keeps 108 bytes for the path of a Unix socket, the last of them NUL."""
BACKLOG: Final = 1024


def socket_path(run: str | Path, name: str) -> str:
    """The path of a socket file. Raises ConfigError if the run folder's path is too long for one."""
    path = str(Path(run) / name)
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise ConfigError(f"Socket path {path!r} has {size} bytes, at most {PATH_BYTES_MAX}: use a shorter run folder")
    return path


def listen_at(path: str, kind: socket.SocketKind) -> socket.socket:
    """A listening, non-blocking Unix socket at `path`, which replaces what had the name before.

    Bound under another name and renamed: there is no moment without a listener, nor one in which others
    than our own user may connect, and a predecessor that closes takes nothing away.
    """
    draft = f"{path}~"
    if len(os.fsencode(draft)) > PATH_BYTES_MAX:
        draft = path[:-1] + "~"
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        Path(draft).unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            listener.bind(draft)
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
        Path(draft).rename(path)
    except BaseException:
        listener.close()
        raise
    return listener
