"""What we ask of Linux for our processes: names, death with the parent, room for descriptors."""

import ctypes
import os
import resource
import signal
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_NAME_BYTES_MAX: Final = 15
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked us ends, however it ends; at once if it already has.

    `parent`: its pid, read before the fork.
    """
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def set_process_name(name: str) -> None:
    """The name that `ps -o comm` and `top` show: at most 15 bytes, the rest is cut."""
    _prctl(_PR_SET_NAME, name.encode()[:_NAME_BYTES_MAX], 0, 0, 0)


def raise_descriptor_limit() -> int:
    """Use all the descriptors we may have; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none.

    With the pid it names a process for good: pids come again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in brackets, may have brackets and blanks of its own; the 20th field behind it is the time.
    state, *rest = stat[stat.rindex(")") + 2 :].split()
    return None if state in "ZX" else int(rest[18])


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor of this process except the standard three and those in `keep`.

    Only for a child that leaves by `os._exit`: objects of the parent that it still has must never close theirs.
    """
    for path in list(Path("/proc/self/fd").iterdir()):
        fd = int(path.name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError as error:
                if error.errno != 9:  # EBADF: the listing's own descriptor, closed by now
                    raise
