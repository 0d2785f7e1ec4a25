"""The floor of gRPC: a grpc.aio method that reads a message and answers, in the loop that flashq has its gRPC in.

python -m loadtest.bare_rpc PORT
"""

import sys
from typing import Any

import grpc.aio
import uvloop

from flashq.api.grpc import flashq_pb2 as pb
from flashq.api.grpc.flashq_pb2_grpc import QueueServiceServicer, add_QueueServiceServicer_to_server


class Floor(QueueServiceServicer):
    """Takes a push and keeps nothing."""

    async def Push(self, request: Any, context: Any) -> pb.PushResponse:  # noqa: N802 - the proto's name
        """Answers once the message is read."""
        return pb.PushResponse(ok=True, id=len(request.data))


async def serve(port: int) -> None:
    """Until the process ends."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_QueueServiceServicer_to_server(Floor(), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
