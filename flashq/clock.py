"""The two clocks: wall time, which people and schedules mean, and monotonic time, which leases run on.

The engine never reads a clock. A process reads one at the start of each tick and hands both times in.
"""

import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Source of time for one process, in whole milliseconds."""

    def wall_ms(self) -> int:
        """Unix time; may jump when somebody sets the system's clock."""

    def mono_ms(self) -> int:
        """Time since boot; never jumps, survives a restart of the process, not of the machine."""

    def both_ms(self) -> tuple[int, int]:
        """Both, wall time first, in one call: the start of every tick."""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def both_ms(self) -> tuple[int, int]:
        return time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000


def boot_id() -> str:
    """Names this boot of the machine: monotonic times of different boots cannot be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
