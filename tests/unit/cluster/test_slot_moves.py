"""Whose a slot is while it moves: the supervisor's decisions, one by one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flashq.cluster.slot_map import SlotMap, first_map
from flashq.cluster.slot_moves import TRIES, Cluster, SlotMoves, read_wanted, write_wanted
from flashq.errors import ConfigError
from flashq.transport.slot_orders import KeepSlot, MoveSlot, SlotMoved, SlotOrder, SlotShipped, SlotStuck, TakeSlot


class Shards:
    """Three shards that hear orders, a disk that has the map, and a clock that the test moves."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, SlotOrder]] = []
        self.maps: list[SlotMap] = []
        self.down: set[int] = set()
        self.full = False
        self.later: list[Callable[[], None]] = []
        self.moves = SlotMoves(
            first_map(3), Cluster(self.tell, self.publish, lambda _, call: self.later.append(call), self.serves)
        )  # fmt: skip

    def serves(self, shard: int) -> bool:
        return shard not in self.down

    def tell(self, shard: int, order: SlotOrder) -> bool:
        if self.serves(shard):
            self.heard.append((shard, order))
        return self.serves(shard)

    def publish(self, slots: SlotMap, shard: int) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.maps.append(slots)

    def pass_time(self) -> None:
        calls, self.later = self.later, []
        for call in calls:
            call()

    def owner(self, slot: int) -> int:
        return self.maps[-1].owners[slot]


def test_the_map_is_written_before_anybody_hears_of_the_new_owner() -> None:
    shards = Shards()
    shards.moves.want([(4, 2), (5, 2)])
    assert shards.heard == [(1, MoveSlot(1, 4, 2))], "one at a time; slot 5 is where it is to be"
    assert shards.owner(4) == 1, "the first map that is written says that slots may be on their way"
    shards.moves.on_report(1, SlotShipped(1))
    assert shards.owner(4) == 2
    assert shards.heard[1:] == [(2, TakeSlot(1)), (1, SlotMoved(1))]
    assert [slots.version for slots in shards.maps] == [2, 3]


@pytest.mark.parametrize("dead", [1, 2])
def test_a_death_before_the_map_leaves_the_slot_and_it_is_tried_again(dead: int) -> None:
    shards = Shards()
    shards.moves.want([(4, 2)])
    shards.down.add(dead)
    shards.moves.on_gone(dead)
    assert shards.heard[1:] == [(3 - dead, KeepSlot(1))], "who lives goes on as before"
    shards.moves.on_report(1, SlotShipped(1))
    assert shards.owner(4) == 1, "what comes late means nothing"
    shards.pass_time()
    assert len(shards.heard) == 2, "not while one of them is down"
    shards.down.clear()
    shards.pass_time()
    (shard, order) = shards.heard[-1]
    assert isinstance(order, MoveSlot)
    assert shard == 1
    shards.moves.on_report(1, SlotShipped(order.move))
    assert shards.owner(4) == 2


def test_a_map_that_cannot_be_written_leaves_the_slot_where_it_is() -> None:
    shards = Shards()
    shards.moves.want([(4, 2)])
    shards.full = True
    shards.moves.on_report(1, SlotShipped(1))
    assert shards.moves.slots.owners[4] == shards.owner(4) == 1
    assert shards.heard[1:] == [(1, KeepSlot(1)), (2, KeepSlot(1))]


def test_a_slot_that_never_can_be_sent_does_not_hold_up_the_others() -> None:
    shards = Shards()
    shards.moves.want([(4, 2), (7, 2)])
    for number in range(1, TRIES + 2):
        shards.moves.on_report(1, SlotStuck(number, "a push in it does not end"))
        shards.pass_time()
    assert shards.heard[-1] == (1, MoveSlot(TRIES + 2, 7, 2))


def test_moves_that_make_no_sense_are_refused_and_not_asked_for_again(tmp_path: Path) -> None:
    for moves in ([(1024, 0)], [(3, 2)]):
        write_wanted(tmp_path, moves)
        with pytest.raises(ConfigError, match="there are 1024 slots and 2 shards"):
            read_wanted(tmp_path, 2)
        assert read_wanted(tmp_path, 2) == []
    write_wanted(tmp_path, [(3, 1)])
    assert read_wanted(tmp_path, 2) == [(3, 1)]
