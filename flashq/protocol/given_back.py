"""What a reply gave out that nobody took: the jobs in it, and the leases they came with.

Read with a decoder, not searched: a payload may hold whatever a client likes, also what looks like a lease.
"""

from typing import Final

from msgspec import MsgspecError, Struct, json, msgpack

_TEXT_HEAD: Final = b"{"


class _Leased(Struct):
    id: int = 0
    lease: int = 0
    """0: the job is shown, not given."""


class _Given(Struct):
    job: _Leased | None = None
    jobs: list[_Leased] = []


_text: Final = json.Decoder(_Given).decode
_binary: Final = msgpack.Decoder(_Given).decode


def leased_in(body: bytes) -> list[tuple[int, int]]:
    """(id, lease token) of the jobs that this reply gives out; empty for any other reply."""
    try:
        reply = (_text if body[:1] == _TEXT_HEAD else _binary)(body)
    except MsgspecError:  # a reply to another command, whose `job` or `jobs` is something else
        return []
    found = [*reply.jobs, *((reply.job,) if reply.job is not None else ())]
    return [(each.id, each.lease) for each in found if each.lease]
