"""The HTTP door, put together: the application, and the ways to the shards."""

import asyncio

from flashq.api.http import process
from flashq.api.http.ways import Ways
from flashq.cluster.peers import Peers
from flashq.transport.child import ChildContext
from flashq.transport.shared_memory import SharedState


class HttpPeers(Peers):
    """The ways of an HTTP process."""

    def __init__(self, ctx: ChildContext, state: SharedState) -> None:
        super().__init__(ctx, state, asyncio.get_running_loop())
        self.ways = Ways(self.dispatcher, self.forwarder, state.owner)


def run_http(ctx: ChildContext) -> int:
    """The life of an HTTP process."""
    return process.run(ctx, HttpPeers)
