"""gRPC: pushes one at a time on each of 16 streams beside a bare grpc.aio method, and batches.

The client sends messages that were serialized before its clock started and parses answers after it stopped, but what
grpc itself costs it is as much as the server's: the figures are of both together, alike on both sides of a comparison.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import grpc.aio

from flashq.api.grpc import flashq_pb2 as pb
from loadtest.bench import FILL
from loadtest.dialects import payload
from loadtest.station import Station
from loadtest.trials import Figures, Side, Site, queue_on
from loadtest.workloads import Clock

AT_ONCE: Final = 16
CALL_S: Final = 30.0
RATE: Final = "flashq, 16 at once, k/s"
BARE_RATE: Final = "bare grpc.aio, 16 at once, k/s"
BATCH_PUSH: Final = "PushBatch of 1000, k jobs/s"
_SERVICE: Final = "/flashq.QueueService/"


async def _called(port: int, call: str, messages: Sequence[bytes], at_once: int) -> tuple[list[bytes], float]:
    """All answers, and the seconds it took. One connection, `at_once` calls under way."""
    clock, left = Clock(), iter(messages)
    answers: list[bytes] = []
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        ask = channel.unary_unary(_SERVICE + call)
        answers.append(await ask(next(left), timeout=CALL_S))

        async def work() -> None:
            answers.extend([await ask(message, timeout=CALL_S) for message in left])

        with clock.running():
            await asyncio.gather(*(work() for _ in range(at_once)))
    return answers, clock.elapsed_s


def grpc_unary(site: Site) -> Sequence[Side]:
    """Push of a small job, 16 calls at once on one connection."""
    cluster, bare, count = site.cluster(grpc=True), site.bare_rpc(), site.size(10_000, 320)
    station = Station(cluster.port, queue_on(cluster, 0, "calls"))
    messages = [pb.PushRequest(queue=station.queue, data=payload(n)).SerializeToString() for n in range(count + 1)]

    def ours() -> Figures:
        answers, took = asyncio.run(_called(cluster.grpc_port, "Push", messages, AT_ONCE))
        station.bag.pushed([pb.PushResponse.FromString(answer).id for answer in answers], count + 1)
        station.drain()
        return {RATE: count / took / 1e3}

    def floor() -> Figures:
        _, took = asyncio.run(_called(bare.port, "Push", messages, AT_ONCE))
        return {BARE_RATE: count / took / 1e3}

    return ours, floor


def grpc_batch(site: Site) -> Sequence[Side]:
    """PushBatch of a thousand, one at a time."""
    cluster, batches = site.cluster(grpc=True), site.size(100, 2)
    station = Station(cluster.port, queue_on(cluster, 0, "batches"))
    jobs = [pb.JobInput(data=payload(number)) for number in range(FILL)]
    message = pb.PushBatchRequest(queue=station.queue, jobs=jobs).SerializeToString()

    def run() -> Figures:
        answers, took = asyncio.run(_called(cluster.grpc_port, "PushBatch", [message] * (batches + 1), 1))
        ids = [job_id for answer in answers for job_id in pb.PushBatchResponse.FromString(answer).ids]
        station.bag.pushed(ids, FILL * (batches + 1))
        station.drain()
        return {BATCH_PUSH: FILL * batches / took / 1e3}

    return (run,)
