"""The one place that sees every kind of process, and puts each together.

A role is a name and a function from a ChildContext to an exit code; the supervisor knows no more of it.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from flashq.config import Settings
from flashq.transport.child import ChildContext


class Role(NamedTuple):
    """A kind of process."""

    kind: str
    run: Callable[[ChildContext], int]
    """The whole life of such a process; its exit code."""
    modules: tuple[str, ...]
    """Imported before the fork."""
    stage: int
    """When it is stopped: lower ones first, and the next when those have ended."""
    has_doors: bool = False
    """It is given the listeners."""
    has_heartbeat: bool = False
    """It writes the heartbeat of the shard of its number; too old a one and it is killed."""


class Component(NamedTuple):
    """One process that there is to be."""

    role: Role
    number: int
    """Which of its kind it is, from 0."""
    name: str


def components(settings: Settings) -> Sequence[Component]:
    """All processes of a cluster, in the order they are started."""
    shards = [Component(SHARD, i, f"shard-{i:02}") for i in range(settings.shards)]
    routers = [Component(ROUTER, i, f"router-{i}") for i in range(settings.routers)]
    return [*shards, *routers]


def _run_router(ctx: ChildContext) -> int:
    import flashq.router.process as process

    return process.run(ctx)


def _run_shard(ctx: ChildContext) -> int:
    import flashq.shard.process as process

    return process.run(ctx)


ROUTER: Final = Role("router", _run_router, ("flashq.router.process",), stage=0, has_doors=True)
SHARD: Final = Role("shard", _run_shard, ("flashq.shard.process",), stage=1, has_heartbeat=True)
