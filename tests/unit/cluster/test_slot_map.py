"""Who owns each slot, durably."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashq.cluster.layout import settled_map
from flashq.cluster.slot_map import (
    FILE,
    Move,
    SlotMap,
    begin_move,
    broken_off,
    find_map,
    first_map,
    rebalanced,
    write_map,
)
from flashq.errors import ConfigError
from flashq.protocol.slots import SLOTS


@pytest.mark.parametrize("shards", [1, 2, 3, 32, 1000, 1024])
def test_first_map_gives_every_shard_its_even_share(shards: int) -> None:
    counts = first_map(shards).slots_of_shard
    assert sum(counts) == SLOTS
    assert max(counts) - min(counts) <= 1


def test_doubling_moves_slots_only_to_new_shards() -> None:
    """What does not move needs no resharding."""
    before, after = first_map(8).owners, first_map(16).owners
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(moved) == SLOTS // 2
    assert min(moved) >= 8


def test_map_is_made_once_and_read_from_then_on(tmp_path: Path) -> None:
    assert settled_map(tmp_path, 4) == first_map(4)
    changed = SlotMap(7, 4, (3,) * SLOTS)
    write_map(tmp_path, changed)
    assert settled_map(tmp_path, 4) == changed
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 8), (8, 4), (3, 7), (1024, 1), (5, 5)])
def test_another_number_of_shards_moves_no_slot_that_need_not_move(before: int, after: int) -> None:
    old = first_map(before)
    new = rebalanced(old, after)
    assert new.version == old.version + 1
    assert max(new.slots_of_shard) - min(new.slots_of_shard) <= 1
    moved = sum(a != b for a, b in zip(old.owners, new.owners, strict=True))
    assert moved == sum(
        max(0, has - (new.slots_of_shard + (0,) * before)[n]) for n, has in enumerate(old.slots_of_shard)
    )


def test_draft_of_a_killed_start_is_no_map(tmp_path: Path) -> None:
    (tmp_path / (FILE + ".new")).write_text("{")
    assert settled_map(tmp_path, 2) == first_map(2)


GOOD = {"format": 1, "version": 1, "shards": 2, "owners": [0] * SLOTS}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        json.dumps({}),
        json.dumps(GOOD | {"owners": [0] * 5}),
        json.dumps(GOOD | {"owners": [2] * SLOTS}),
        json.dumps(GOOD | {"owners": ["0"] * SLOTS}),
        json.dumps(GOOD | {"owners": 5}),
        json.dumps(GOOD | {"version": "1"}),
    ],
)
def test_damaged_map_is_refused_not_made_anew(tmp_path: Path, content: str) -> None:
    """Made anew it might send a queue's commands to a shard that has never seen its jobs."""
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ConfigError, match=r"slots\.json is damaged"):
        settled_map(tmp_path, 2)
    assert (tmp_path / FILE).read_text() == content


def test_map_of_a_later_format_is_refused(tmp_path: Path) -> None:
    later: dict[str, Any] = GOOD | {"format": 2}
    (tmp_path / FILE).write_text(json.dumps(later))
    with pytest.raises(ConfigError, match="has format 2, this flashq knows 1"):
        settled_map(tmp_path, 2)


@pytest.mark.parametrize(
    ("what", "again"), [("migration", "remove it, and migrate again"), ("restore", "restore it again")]
)
def test_what_was_broken_off_is_named_until_there_is_a_map(tmp_path: Path, what: Move, again: str) -> None:
    assert broken_off(tmp_path) == ""
    begin_move(tmp_path, what)
    assert broken_off(tmp_path) == what
    with pytest.raises(ConfigError, match=f"a {what} into this folder was broken off: {again}"):
        find_map(tmp_path)
    write_map(tmp_path, first_map(3))
    assert broken_off(tmp_path) == ""
