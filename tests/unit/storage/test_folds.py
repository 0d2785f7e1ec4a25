"""The registry of folds is whole."""

from flashq.engine import events
from flashq.engine.replay import APPLY
from flashq.storage.folds import FOLDS


def test_every_event_has_a_fold() -> None:
    """An event without one stops the checkpointer of its shard.

    Say in storage/folds.py which entries it changes, and in storage/sections.py how they are read and put back. Pages,
    records, queues and slots note their changes by themselves.
    """
    kinds = {*events.COLD_EVENTS, events.Run, events.Leases, events.Acks}
    assert {kind.__name__ for kind in kinds - set(FOLDS)} == set()
    assert {kind.__name__ for kind in kinds - set(APPLY)} == set()
