"""The one place that sees every kind of process, and puts each together.

A role is a name and a function from a ChildContext to an exit code; the supervisor knows no more of it.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NamedTuple

from flashq.cluster import listeners
from flashq.config import Settings
from flashq.transport.child import ChildContext
from flashq.transport.hook_feed import SENDER


class Role(NamedTuple):
    """A kind of process."""

    kind: str
    run: Callable[[ChildContext], int]
    """The whole life of such a process; its exit code."""
    modules: tuple[str, ...]
    """Imported before the fork."""
    stage: int
    """When it is stopped: lower ones first, and the next when those have ended."""
    doors: str = ""
    """The kind of listeners it is given (`listeners.STREAM`, …); empty: none."""
    has_heartbeat: bool = False
    """It writes the heartbeat of the shard of its number; too old a one and it is killed."""
    is_probed: bool = False
    """It runs a loop that is asked now and then whether it turns; no answer for too long and it is killed."""


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
    folded = settings.durability != "memory"
    doors = [Component(HTTP, i, f"http-{i}") for i in range(settings.api_workers)] if settings.http else []
    doors += [Component(GRPC, 0, "grpc-0")] if settings.grpc else []
    sender = Component(WEBHOOKS, 0, SENDER)
    behind = [Component(CHECKPOINTER, 0, "checkpointer")] if folded else []
    behind += [Component(BACKUPS, 0, "backups")] if settings.backup_dir is not None else []
    behind += [Component(SHIPPER, 0, "shipper")] if settings.archive_dir is not None else []
    return [*shards, *routers, *doors, sender, *behind]


def _life(module: str, function: str) -> Callable[[ChildContext], int]:
    """A process whose whole life is a function of a module, imported before the fork."""

    def run(ctx: ChildContext) -> int:
        code: int = getattr(import_module(module), function)(ctx)
        return code

    return run


def _role(
    kind: str, module: str, function: str, stage: int, *, doors: str = "", has_heartbeat: bool = False,
    is_probed: bool = False,
) -> Role:  # fmt: skip
    return Role(kind, _life(module, function), (module,), stage, doors, has_heartbeat, is_probed)


ROUTER: Final = _role("router", "flashq.cluster.gateways", "run_router", 0, doors=listeners.STREAM, is_probed=True)
SHARD: Final = _role("shard", "flashq.cluster.gateways", "run_shard", 1, has_heartbeat=True)
CHECKPOINTER: Final = _role("checkpointer", "flashq.shard.checkpoint_process", "run", 2)
WEBHOOKS: Final = _role("webhooks", "flashq.cluster.webhook_door", "run", 0, is_probed=True)
BACKUPS: Final = _role("backups", "flashq.cluster.backups.process", "run", 0)
SHIPPER: Final = _role("shipper", "flashq.cluster.backups.shipping_process", "run", 2)
# Not imported before the fork: what these stand on is large, and no other process needs it.
HTTP: Final = Role("http", _life("flashq.cluster.http_door", "run_http"), (), 0, listeners.HTTP, is_probed=True)
GRPC: Final = Role("grpc", _life("flashq.cluster.grpc_door", "run_grpc"), (), 0, listeners.GRPC, is_probed=True)
