"""A delivery as the request that is sent: its body and headers."""

from typing import Final

import msgspec

from flashq import __version__
from flashq.api.webhooks.signing import signature_of, timed_signature_of
from flashq.protocol.dispatch import Codec
from flashq.protocol.happenings import Happening, event_of
from flashq.protocol.traces import HEADER
from flashq.transport.hook_feed import Parcel, Target

_encode: Final = msgspec.json.Encoder().encode


def body_of(happening: Happening) -> bytes:
    """Always the same six keys, in this order; `data` of a progress is its percentage."""
    event = event_of(happening, Codec.TEXT)
    data = event.get("data", event.get("progress"))
    return _encode(
        {
            "data": data, "error": event.get("error"), "event": happening.kind, "job_id": happening.job_id,
            "queue": happening.queue, "timestamp": happening.at_ms,
        }
    )  # fmt: skip


def headers_of(target: Target, parcel: Parcel, body: bytes, now_s: int) -> dict[str, str]:
    """The delivery's number stays the same over all attempts: a receiver can tell what it has had already."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"flashq/{__version__}",
        "X-FlashQ-Event": parcel.happening.kind,
        "X-FlashQ-Delivery": f"wh_{parcel.hook}-{parcel.no}",
        "X-FlashQ-Attempt": str(parcel.attempts + 1),
    }
    if parcel.happening.trace is not None:
        headers[HEADER] = parcel.happening.trace
    if target.secret:
        headers["X-FlashQ-Signature"] = signature_of(target.secret, body)
        headers["X-FlashQ-Signature-Timed"] = timed_signature_of(target.secret, body, now_s)
    return headers
