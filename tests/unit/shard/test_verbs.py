"""Where a command belongs."""

import pytest

from flashq.errors import InvalidArgument
from flashq.protocol import commands as c
from flashq.protocol.slots import slot_of_queue
from flashq.shard.verbs import by_queue


def test_command_of_a_queue_belongs_to_its_slot() -> None:
    assert by_queue(c.Pause(queue="mail")) == slot_of_queue("mail")


@pytest.mark.parametrize("name", ["", "a b", "x" * 257, "__others"])
@pytest.mark.parametrize("make", [c.Pause, c.Resume, c.Count, c.Drain, c.IsPaused])
def test_bad_queue_name_is_refused_by_every_command_that_takes_one(make: type, name: str) -> None:
    """A pause of a queue that cannot exist would be listed for ever."""
    with pytest.raises(InvalidArgument, match=r"^Queue name"):
        by_queue(make(queue=name))
