"""What a family of a client's commands stands on."""

import msgspec

from flashq.client.session import Session


class Asking:
    """Made by `Client`, which has the session."""

    _session: Session


class Done(msgspec.Struct):
    """A reply with nothing but ok."""


class Counted(msgspec.Struct):
    """A reply that says how many."""

    count: int
