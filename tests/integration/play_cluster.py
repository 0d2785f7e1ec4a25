"""A cluster of players, to test the supervisor with: real processes that do as their part says.

    python play_cluster.py DATA RUN SHARDS '{"shard-01": "refuse"}' [setting=value ...]

Parts: serve (default), refuse, crash (always, before it serves), raise, hang (serves, but its heart stops), deaf
(never stops), slow (serves once a file `go` is in the data folder). Each prints what it hears, such as
"shard-00 hears PeerReady(...)".
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

from flashq.cluster import supervisor
from flashq.cluster.roles import Component, Role
from flashq.config import Settings
from flashq.errors import ConfigError, JournalCorrupt
from flashq.transport.child import EXIT_STOPPED, ChildContext, Stop
from flashq.transport.shard_region import COUNTERS
from flashq.transport.shared_memory import SharedState

PARTS: dict[str, str] = {}


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def play(ctx: ChildContext) -> int:
    part = PARTS.get(ctx.name, "serve")
    say(f"{ctx.name} lives {os.getpid()} {ctx.incarnation} {[path.name for path in Path('/proc/self/fd').iterdir()]}")
    if part == "refuse":
        raise JournalCorrupt(f"{ctx.name}: damaged at offset 7")
    if part == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if part == "raise":
        raise ValueError("an error nobody expected")
    while part == "slow" and not (ctx.settings.data / "go").exists():
        select.select([], [], [], 0.01)
    ctx.control.note(f"as {part}")
    ctx.control.ready()
    return perform(ctx, part)


def perform(ctx: ChildContext, part: str) -> int:
    heart = None
    if ctx.name.startswith("shard"):
        heart = SharedState.attach(ctx.run, writable=True).writer(ctx.index, ctx.incarnation)
    while True:
        if heart is not None and part != "hang":
            heart.write(time.monotonic_ns() // 1_000_000, *[0] * len(COUNTERS))
        select.select([ctx.control], [], [], 0.1)
        for order in ctx.control.orders():
            say(f"{ctx.name} hears {order}")
            if isinstance(order, Stop) and part != "deaf":
                return EXIT_STOPPED


def main() -> int:
    data, run, shards, parts, *more = sys.argv[1:]
    PARTS.update(json.loads(parts))
    values = {name: int(value) if value.isdigit() else value for name, value in (word.split("=", 1) for word in more)}
    if "unix_socket" in values:
        values["unix_socket"] = Path(str(values["unix_socket"]))
    settings = Settings(data=Path(data), run=Path(run), shards=int(shards), **{"port": 0} | values)
    shard = Role("shard", play, (), stage=1, has_heartbeat=True)
    router = Role("router", play, (), stage=0, doors="stream", is_probed=True)
    cast = [Component(shard, i, f"shard-{i:02}") for i in range(settings.shards)]
    try:
        return supervisor.run(settings, [*cast, Component(router, 0, "router-0")])
    except ConfigError as error:
        say(f"ConfigError: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
