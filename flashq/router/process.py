"""The router process: a `Front` in a loop of its own, from its birth to the order to stop."""

import uvloop

from flashq.protocol.dispatch import Codec
from flashq.protocol.head import codec_of
from flashq.router.front import Front
from flashq.router.gateway import MakeGateway, NoGateway
from flashq.router.waiting import Waiting
from flashq.transport.child import EXIT_STOPPED, ChildContext
from flashq.transport.handover import Handed, HandoverSender
from flashq.transport.shared_memory import SharedState

_PROTOCOLS = {Codec.TEXT: "text", Codec.BINARY: "binary", None: "unknown"}


def run(ctx: ChildContext, make_gateway: MakeGateway = NoGateway) -> int:
    """The whole life of a router; its exit code."""
    return uvloop.run(_live(ctx, make_gateway))


async def _live(ctx: ChildContext, make_gateway: MakeGateway) -> int:
    state = SharedState.attach(ctx.run)
    sender = HandoverSender(ctx.run)

    def hand_over(shard: int, arrived: Waiting) -> bool:
        protocol = _PROTOCOLS[codec_of(arrived.data)]
        handed = Handed(gid=arrived.gid, protocol=protocol, principal="", head=arrived.data)
        return sender.send(shard, arrived.sock.fileno(), handed)

    front = Front(ctx, state, make_gateway(ctx, state), hand_over)
    await front.start()
    ctx.control.ready()
    await front.stop_ordered.wait()
    await front.stop()
    sender.close()
    state.close()
    return EXIT_STOPPED
