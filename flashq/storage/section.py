"""What a family of small state is to the table `entries`."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flashq.engine.engine import Engine


class Section(NamedTuple):
    """One kind of entries."""

    dump: Callable[[Engine, int, str], Any]
    """(engine, slot, key): the value as MessagePack can say it; None if there is none any more."""
    load: Callable[[Engine, int, str, Any], None]
    """(engine, slot, key, value): put it back. Entries of a kind come in the order of slot and key."""
