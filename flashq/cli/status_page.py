"""How `flashq cluster status` shows a cluster to people."""

import time
from typing import TYPE_CHECKING, Final

from flashq.cli.output import say, say_table
from flashq.units import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

if TYPE_CHECKING:
    from flashq.cluster.health import ClusterStatus, ProcessStatus, QueueStatus, ShardStatus

_QUEUES_SHOWN: Final = 20
_PROCESS: Final = ("process", "state", "since", "pid", "restarts", "reason")
_SHARD: Final = ("shard", "slots", "queues", "beat", "waiting", "delayed", "active", "dead", "pushed", "completed")
_QUEUE: Final = ("queue", "shard", "waiting", "delayed", "active", "completed", "dead", "")


def say_status(status: "ClusterStatus") -> None:
    """The cluster in a line, then its processes, shards and busiest queues."""
    now_ms = time.time_ns() // 1_000_000
    say(f"{'serving' if status.serving else 'NOT ALL SERVING'} for {rough_age(now_ms - status.started_ms)}")
    say(f"at {', '.join(status.addresses)}  durability {status.durability}  pid {status.pid}")
    say(f"data {status.data}  run {status.run}\n")
    say_table(_PROCESS, [_process(process, now_ms) for process in status.processes], texts=3)
    say("")
    say_table(_SHARD, [_shard(shard) for shard in status.shards])
    for shard in status.shards:
        if shard.refusing:
            say(f"{shard.name} refuses pushes: {shard.refusing}")
    if status.queues:
        say("")
        _say_queues(status.queues)


def rough_age(age_ms: int) -> str:
    """An age in its largest unit, as 3 m or 12 d."""
    for unit_ms, name in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s")):
        if age_ms >= unit_ms:
            return f"{age_ms // unit_ms} {name}"
    return f"{max(age_ms, 0)} ms"


def _process(process: "ProcessStatus", now_ms: int) -> tuple[object, ...]:
    since = rough_age(now_ms - process.since_ms)
    return process.name, process.state, since, process.pid or "-", process.restarts, process.reason


def _shard(shard: "ShardStatus") -> tuple[object, ...]:
    beat = "-" if shard.heartbeat_age_ms is None else rough_age(shard.heartbeat_age_ms)
    names = ("queued", "delayed", "active", "dead", "pushed", "completed")
    return shard.name, shard.slots, shard.queues, beat, *(shard.counters.get(name, 0) for name in names)


def _say_queues(queues: "list[QueueStatus]") -> None:
    busiest = sorted(queues, key=lambda q: (-(q.waiting + q.delayed + q.active), q.name))[:_QUEUES_SHOWN]
    say_table(
        _QUEUE,
        [
            (q.name, q.shard, q.waiting, q.delayed, q.active, q.completed, q.dead, "paused" if q.paused else "")
            for q in busiest
        ],
    )
    if len(queues) > _QUEUES_SHOWN:
        say(f"and {len(queues) - _QUEUES_SHOWN} queues more (--json shows all)")
