"""Whether the server lives, and whether it is ready: the truth of each shard, from shared memory."""

import time
from typing import Any, Final

from flashq import __version__
from flashq.api.http.pages.page import Asked, Host, Page, json_response
from flashq.transport.shard_region import REFUSING
from flashq.transport.shared_memory import ProcessState

_GROUP: Final = "Health"


def shard_states(host: Host, now_mono_ms: int) -> list[dict[str, Any]]:
    """How each shard is. One whose heart has stopped does not serve, whatever its state says."""
    rows = {row.name: row for row in host.state.processes()}
    found = []
    for shard in range(host.settings.shards):
        name = f"shard-{shard:02}"
        row, view = rows.get(name), host.state.shard(shard)
        age_ms = None if view is None else max(0, now_mono_ms - view.heartbeat_ms)
        state = "starting" if row is None else row.state.name.lower()
        if state == "serving" and (age_ms is None or age_ms > host.settings.heartbeat_limit_ms):
            state = "hung"
        found.append({
            "shard": name, "state": state, "heartbeat_age_ms": age_ms, "restarts": row.restarts if row else 0,
            "reason": row.reason if row and row.state is not ProcessState.SERVING else "",
            "refusing": "" if view is None else REFUSING[view.counters.refusing],
        })  # fmt: skip
    return found


def mono_ms() -> int:
    """Time since boot."""
    return time.monotonic_ns() // 1_000_000


async def _health(asked: Asked) -> Any:
    host = asked.host
    shards = shard_states(host, mono_ms())
    serving = sum(one["state"] == "serving" for one in shards)
    uptime_ms = max(0, mono_ms() - host.state.header.started_mono_ms)
    return {
        "status": _status(shards, serving),
        "version": __version__, "uptime_ms": uptime_ms, "uptime_seconds": uptime_ms // 1_000,
        "durability": host.state.header.durability, "shards": len(shards), "shards_serving": serving,
        "pushes_refused": {one["shard"]: one["refusing"] for one in shards if one["refusing"]},
        "sqlite_enabled": host.state.header.durability != "memory",
        "node_id": None, "is_leader": True, "cluster_enabled": False, "postgres_connected": False,
    }  # fmt: skip


def _status(shards: list[dict[str, Any]], serving: int) -> str:
    if not serving:
        return "unhealthy"
    return "degraded" if serving < len(shards) or any(one["refusing"] for one in shards) else "healthy"


async def _ready(asked: Asked) -> Any:
    shards = shard_states(asked.host, mono_ms())
    ready = all(one["state"] == "serving" for one in shards)
    data = {"ready": ready, "shards": shards}
    if ready:
        return data
    down = ", ".join(one["shard"] for one in shards if one["state"] != "serving")
    whole = {"ok": False, "error": f"Not ready: {down}", "code": "unavailable", "data": data}
    return json_response(whole, 503)


PAGES: Final = [
    Page(method="GET", path="/health", group=_GROUP, serve=_health,
         summary="That this process lives, and how the shards are; always 200",
         data={"status": "healthy", "version": "1.0.0", "uptime_ms": 61000, "uptime_seconds": 61,
               "durability": "fsync", "shards": 2, "shards_serving": 2,
               "pushes_refused": {"shard-01": "disk is nearly full"}}),
    Page(method="GET", path="/ready", group=_GROUP, serve=_ready, summary="Whether every shard serves; 503 if not",
         data={"ready": True, "shards": [{"shard": "shard-00", "state": "serving", "heartbeat_age_ms": 12,
                                          "restarts": 0, "reason": "", "refusing": ""}]}),
]  # fmt: skip
