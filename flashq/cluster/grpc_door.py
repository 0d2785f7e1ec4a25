"""The gRPC door, put together: the calls, and the ways to the shards."""

import asyncio

from flashq.api.grpc import process
from flashq.api.ways import Ways
from flashq.cluster.peers import Peers
from flashq.transport.child import ChildContext
from flashq.transport.shared_memory import SharedState


class GrpcPeers(Peers):
    """The ways of a gRPC process."""

    def __init__(self, ctx: ChildContext, state: SharedState) -> None:
        super().__init__(ctx, state, asyncio.get_running_loop())
        self.ways = Ways(self.dispatcher, self.forwarder, state.owner)


def run_grpc(ctx: ChildContext) -> int:
    """The life of a gRPC process."""
    return process.run(ctx, GrpcPeers)
