"""`POST /api/command`: any command of the protocol in the body, its reply unwrapped."""

from typing import Final

import msgspec
from msgspec import Raw

from flashq.api.http import fields
from flashq.api.http.failures import HttpFailure
from flashq.api.http.plans import TRACED, refusal_of
from flashq.api.statuses import status_of
from flashq.api.ways import Command
from flashq.transport.forwarding import WAITS

NEEDS_STREAM: Final = frozenset({"SUBSCRIBE", "UNSUBSCRIBE"})
_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class _Named(msgspec.Struct):
    cmd: str = ""


_named: Final = msgspec.json.Decoder(_Named).decode


def command_of_body(body: bytes, key: str | None, trace: str | None = None) -> Command:
    """The command in a body. Raises HttpFailure for a body that is no JSON object, and for what needs a stream."""
    body = fields.sound(body)
    try:
        cmd = _named(body).cmd
        if cmd in NEEDS_STREAM:
            raise HttpFailure(422, "Invalid: events come by GET /events and /ws, not in an answer")
        if key is not None:
            body = _encode({**_object(body), "idempotency_key": key})
        if trace is not None and cmd in TRACED:
            body = _encode({"trace": trace, **_object(body)})
    except fields.BAD as error:
        raise fields.malformed(error) from None
    return Command(body, wait_ms=WAITS.get(cmd, 0))


def status_of_reply(reply: bytes, *, real: bool) -> int:
    """The status that goes with a reply as it is: 200, under /api/v1 (`real`) that of its code."""
    if not real or refusal_of(reply).code == "":
        return 200
    return status_of(refusal_of(reply).code, real=True)
