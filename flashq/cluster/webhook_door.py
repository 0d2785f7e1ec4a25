"""The sender of webhooks, put together: it, and the ways to the shards."""

from flashq.api.webhooks import process
from flashq.cluster.peers import Peers
from flashq.transport.child import ChildContext


def run(ctx: ChildContext) -> int:
    """The life of the sender."""
    return process.run(ctx, Peers)
