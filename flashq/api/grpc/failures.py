"""Calls that are refused: their status, their text, and the stable code of errors.py in the trailing metadata."""

from typing import Final, NoReturn

import grpc
import msgspec
from grpc.aio import ServicerContext

from flashq.api.statuses import GRPC_STATUS_OF

CODE_KEY: Final = "flashq-code"
ERRORS_KEY: Final = "flashq-errors"
"""What was refused of a batch, as JSON: `[{"index":…,"error":…,"code":…}]`."""
Context = ServicerContext[bytes, bytes]


class GrpcFailure(Exception):
    """A call that ends with a status of its own."""

    def __init__(self, text: str, code: str, status: str = "") -> None:
        """`status`: the name of another status than the table has for this code."""
        super().__init__(text)
        self.text = text
        self.code = code
        self.status: grpc.StatusCode = grpc.StatusCode[status or GRPC_STATUS_OF.get(code, "INTERNAL")]

    async def abort(self, context: Context) -> NoReturn:
        """End the call so."""
        await context.abort(self.status, self.text, ((CODE_KEY, self.code),))


class _Refusal(msgspec.Struct):
    error: str = ""
    code: str = ""


_refusal: Final = msgspec.json.Decoder(_Refusal).decode


def refused(reply: bytes, status: str = "") -> GrpcFailure:
    """The failure that a reply in JSON stands for."""
    seen = _refusal(reply)
    return GrpcFailure(seen.error, seen.code, status)


def invalid(text: str) -> GrpcFailure:
    """A request that cannot be carried out as it is."""
    return GrpcFailure(text, "invalid")


def draining() -> GrpcFailure:
    """The server stops: another, or this one a moment later, will do."""
    return GrpcFailure("The server is stopping", "unavailable")
