"""What processes cost, and which core they run on."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """Proportional set size of some processes, in bytes: shared pages count by their share."""

    pss: int
    anonymous: int
    """The part that is no file's: what the journal's mapped segments leave out."""


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold blanks and brackets: state, then the parent's pid.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def memory(pids: Iterable[int]) -> Memory:
    """What they hold together. One that has ended holds nothing."""
    pss = anonymous = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split("\n")
            values = {name: rest for name, _, rest in (line.partition(":") for line in fields)}
            pss += int(values["Pss"].split()[0]) * 1024
            anonymous += int(values["Pss_Anon"].split()[0]) * 1024
    return Memory(pss, anonymous)


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that they have used since they began, in seconds."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_A_SECOND


@contextlib.contextmanager
def one_core(pids: Iterable[int]) -> Iterator[None]:
    """Hold these processes and us on one core.

    Where one request waits for one reply, two idle cores give two different speeds, as the kernel leaves both ends
    on one core or wakes the other (10 or 60-90 us for an echo, whatever the server). On one core, work is measured.
    """
    before = os.sched_getaffinity(0)
    held = list(pids)
    _hold([*held, os.getpid()], {min(before)})
    try:
        yield
    finally:
        _hold([*held, os.getpid()], before)


def _hold(pids: Iterable[int], cores: set[int]) -> None:
    for pid in pids:
        for thread in _threads(pid):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    try:
        return [int(folder.name) for folder in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return []
