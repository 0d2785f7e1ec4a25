"""The machines of a cluster, as older clients ask for them: there is one."""

import time
from typing import Any, Final

from flashq.api.http.pages.page import Asked, Host, Page
from flashq.errors import InvalidArgument

_GROUP: Final = "Cluster"


def _node(host: Host) -> dict[str, Any]:
    return {
        "node_id": "standalone", "host": host.settings.host, "port": host.settings.http_port, "is_leader": True,
        "last_heartbeat": time.time_ns() // 1_000_000, "started_at": host.state.header.started_wall_ms,
    }  # fmt: skip


async def _nodes(asked: Asked) -> Any:
    return [_node(asked.host)]


async def _one(asked: Asked) -> Any:
    return _node(asked.host)


async def _figures_of_nodes(asked: Asked) -> Any:
    return []


async def _figures(asked: Asked) -> Any:
    totals = asked.host.history.totals()
    return {
        "total_nodes": 1, "active_nodes": 1, "leader_node": "standalone", "total_jobs_processing": totals.active,
        "total_jobs_completed": totals.completed, "total_jobs_failed": totals.failed,
        "cluster_throughput_per_sec": asked.host.history.throughput, "avg_cluster_latency_ms": totals.latency_ms,
    }  # fmt: skip


async def _strategy(asked: Asked) -> Any:
    return {"strategy": "LeastConnections"}


async def _set_strategy(asked: Asked) -> Any:
    raise InvalidArgument("Cluster mode not enabled")


_NODE: Final = {"node_id": "standalone", "host": "127.0.0.1", "port": 6790, "is_leader": True}
PAGES: Final = [
    Page(method="GET", path="/cluster/nodes", group=_GROUP, summary="All machines: one", serve=_nodes, data=[_NODE]),
    Page(method="GET", path="/cluster/nodes/metrics", group=_GROUP, summary="Figures of other machines: none",
         serve=_figures_of_nodes, data=[]),
    Page(method="GET", path="/cluster/metrics", group=_GROUP, summary="Figures of all machines", serve=_figures,
         data={"total_nodes": 1, "active_nodes": 1, "leader_node": "standalone"}),
    Page(method="GET", path="/cluster/best-node", group=_GROUP, summary="The machine to ask", serve=_one, data=_NODE),
    Page(method="GET", path="/cluster/sticky-node/{key}", group=_GROUP, summary="The machine of a key", serve=_one,
         data=_NODE),
    Page(method="GET", path="/cluster/load-balance-strategy", group=_GROUP, summary="How machines are chosen",
         serve=_strategy, data={"strategy": "LeastConnections"}),
    Page(method="POST", path="/cluster/load-balance-strategy", group=_GROUP, serve=_set_strategy,
         summary="Refused: there is one machine"),
]  # fmt: skip
