"""What the cluster's processes take of the machine, from /proc."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from flashq import machine
from flashq.api.http.pages.health import mono_ms
from flashq.api.http.pages.page import Asked, Host, Page

_MB: Final = 1024 * 1024
_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Of several processes together; those that have ended meanwhile are left out."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.rss = self.virtual = self.read = self.written = 0
        self.cpu_s = 0.0
        for pid in pids:
            try:
                self._add(Path(f"/proc/{pid}"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue

    def _add(self, proc: Path) -> None:
        pages = (proc / "statm").read_text().split()
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        io = dict(line.split(": ") for line in (proc / "io").read_text().splitlines())
        self.virtual += int(pages[0]) * _PAGE
        self.rss += int(pages[1]) * _PAGE
        self.cpu_s += (int(fields[11]) + int(fields[12])) / _TICK
        self.read += int(io["read_bytes"])
        self.written += int(io["write_bytes"])


async def _system(asked: Asked) -> Any:
    return system_metrics(asked.host)


def system_metrics(host: Host) -> dict[str, Any]:
    """What all processes take together."""
    header = host.state.header
    usage = Usage([header.pid, *(row.pid for row in host.state.processes() if row.pid)])
    total = machine.memory_bytes()
    run_s = max(0.001, (mono_ms() - header.started_mono_ms) / 1_000)
    views = [host.state.shard(shard) for shard in range(host.settings.shards)]
    return {
        "memory_used_mb": usage.rss / _MB, "memory_total_mb": total / _MB, "memory_percent": 100 * usage.rss / total,
        "memory_rss_mb": usage.rss / _MB, "memory_virtual_mb": usage.virtual / _MB,
        "cpu_percent": 100 * usage.cpu_s / run_s,
        "disk_read_bytes": usage.read, "disk_written_bytes": usage.written,
        "disk_read_mb": usage.read / _MB, "disk_written_mb": usage.written / _MB,
        "process_id": header.pid, "start_time_unix": header.started_wall_ms // 1_000,
        "run_time_seconds": int(run_s), "process_status": "Run",
        "tcp_connections": sum(view.counters.connections for view in views if view is not None),
        "uptime_seconds": int(run_s),
    }  # fmt: skip


PAGES: Final = [
    Page(method="GET", path="/system/metrics", group="Server", serve=_system,
         summary="Memory, processor and disk of all processes; processor on average since the start",
         data={"memory_rss_mb": 210.5, "cpu_percent": 3.5, "process_id": 4711, "uptime_seconds": 61}),

]  # fmt: skip
