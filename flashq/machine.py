"""What the machine, or the container, gives this process: cores and memory."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or the least limit of the cgroups it is in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *cgroup_limits(_CGROUPS, _own_cgroups())])


def _own_cgroups() -> str:
    return Path("/proc/self/cgroup").read_text()


def cgroup_limits(root: Path, own: str) -> Iterator[int]:
    """Limits in force, from version 2 (`memory.max`) or 1 (`memory.limit_in_bytes`, a huge number if none).

    `own` is the text of /proc/self/cgroup. A container often sees its own group as the root of the tree while
    `own` names a path outside, so the root's file is always looked at too.
    """
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _limits_upward(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_upward(root / "memory", path, "memory.limit_in_bytes")


def _limits_upward(root: Path, path: str, file: str) -> Iterator[int]:
    inner = PurePosixPath(path.lstrip("/"))
    for folder in (inner, *inner.parents):
        limit = root / folder / file
        if limit.is_file():
            text = limit.read_text().strip()
            if text != "max":
                yield int(text)
