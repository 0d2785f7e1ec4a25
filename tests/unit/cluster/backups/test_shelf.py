"""A folder of backups: names, order, and who may be there."""

from pathlib import Path

import pytest

from flashq.cluster.backups.shelf import backups, find_backup, name_of, put, taken, trim
from flashq.errors import ConfigError, StorageError


def test_names_sort_by_the_moment_of_the_cut() -> None:
    moments = [0, 1, 999, 1_000, 59_999, 60_000, 1_795_552_791_006, 1_795_552_791_007]
    names = [name_of(ms) for ms in moments]
    assert names == sorted(names)
    assert names[-2] == "flashq-20261124T203951.006Z"


def test_one_at_a_time_and_leftovers_go(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "backups"
    with taken(folder):
        with pytest.raises(StorageError, match="another backup is being made"), taken(folder):
            pass
        (folder / ".draft-1").mkdir()
        (folder / ".gone-flashq-1").mkdir()
    with taken(folder):
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_only_the_latest_are_kept_and_other_things_stay(tmp_path: Path) -> None:
    assert backups(tmp_path / "none") == []
    with pytest.raises(ConfigError, match="there is no backup here"):
        find_backup(tmp_path)
    for n in range(4):
        (tmp_path / "draft").mkdir()
        put(tmp_path / "draft", tmp_path, name_of(n * 1_000))
    (tmp_path / "notes").mkdir()
    points: list[str] = []
    assert trim(tmp_path, 0, points.append) == []
    assert trim(tmp_path, 3, points.append) == [name_of(0)]
    assert points == [f"gone {name_of(0)}"]
    assert [path.name for path in backups(tmp_path)] == [name_of(n * 1_000) for n in (1, 2, 3)]
    assert find_backup(tmp_path).name == name_of(3_000)
    assert find_backup(tmp_path / name_of(1_000)).name == name_of(1_000)
    assert (tmp_path / "notes").is_dir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"backup folder \S+file/backups: Not a directory"),
        taken(tmp_path / "file" / "backups"),
    ):
        pass
