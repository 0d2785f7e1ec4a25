"""A process with one exchange: `exchange_peer.py RUN NAME EPOCH`. Prints `ready`, serves until told to stop.

Answers what it is asked: `echo...` at once with the same bytes, `hold...` never, `count` with how many others came.
"""

import asyncio
import signal
import sys

import uvloop

from flashq.transport.exchange import Exchange
from flashq.transport.incoming import Incoming


class Peer:
    def __init__(self) -> None:
        self.seen = 0

    def requested(self, incoming: Incoming) -> None:
        if incoming.frame == b"count":
            incoming.reply(b"%d" % self.seen)
            return
        self.seen += 1
        if incoming.frame.startswith(b"echo"):
            incoming.reply(incoming.frame)


async def main(run: str, name: str, epoch: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    peer = Peer()
    exchange = Exchange(
        name, run, epoch=epoch, loop=loop, on_request=peer.requested, on_peer_gone=lambda name, epoch: None
    )
    print("ready", flush=True)
    await stop.wait()
    await exchange.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
