"""A process that asks `b` 3,000 times and ends well when it has every reply: `exchange_caller.py RUN`."""

import asyncio
import sys

import uvloop

from flashq.transport.exchange import Exchange

REQUESTS = 3_000


async def main(run: str) -> int:
    loop = asyncio.get_running_loop()
    replies: list[bytes] = []
    failures: list[str] = []
    ended = asyncio.Event()

    def replied(body: bytes) -> None:
        replies.append(body)
        if len(replies) == REQUESTS:
            ended.set()

    def failed(failure: str) -> None:
        failures.append(failure)
        ended.set()

    exchange = Exchange(
        "caller", run, epoch=1, loop=loop, on_request=lambda _: None, on_peer_gone=lambda name, epoch: None
    )
    for _ in range(REQUESTS):
        exchange.request(
            "b", b"give", codec=0, gid=1, principal="", flags=0, deadline_ms=0, on_reply=replied, on_fail=failed
        )
    await ended.wait()
    await exchange.stop()
    return int(bool(failures) or any(len(body) != 2_000 for body in replies))


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1])))
