"""Folders: taken by one cluster, cleaned of what a dead one left, and of nothing else."""

import os
import socket
from pathlib import Path

import pytest

from flashq.cluster.folders import RunFolder, lock_data, read_record
from flashq.errors import ConfigError


def test_data_folder_has_one_owner(tmp_path: Path) -> None:
    fd = lock_data(tmp_path / "data")
    with pytest.raises(ConfigError, match=rf"another cluster uses this folder \(pid {os.getpid()}\)"):
        lock_data(tmp_path / "data")
    os.close(fd)
    os.close(lock_data(tmp_path / "data"))


def test_lock_file_of_a_dead_owner_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "cluster.lock").write_text("1 12345678901234567890\n" * 3)
    fd = lock_data(tmp_path)
    assert (tmp_path / "cluster.lock").read_text().split()[0] == str(os.getpid())
    os.close(fd)


def test_data_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^data = .*/file/data: Not a directory$"):
        lock_data(tmp_path / "file" / "data")


def test_run_folder_is_cleaned_of_sockets_and_state_only(run_folder: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(run_folder / "shard-00.front"))
    stale.close()
    for name in ("state", "state.123", "cluster.json", "letter"):
        (run_folder / name).touch()
    folder = RunFolder.open(run_folder)
    assert [path.name for path in run_folder.iterdir()] == ["letter"]
    folder.close()
    assert (run_folder / "letter").exists()


def test_run_folder_vanishes_with_its_cluster(run_folder: Path) -> None:
    folder = RunFolder.open(run_folder / "run")
    folder.write_record(run_folder, ["127.0.0.1:1"])
    folder.close()
    assert not (run_folder / "run").exists()


def test_run_folder_has_one_owner_whose_record_names_it(run_folder: Path) -> None:
    folder = RunFolder.open(run_folder)
    folder.write_record(Path("/data"), ["127.0.0.1:6789"])
    record = read_record(run_folder)
    assert record is not None
    assert record.alive()
    assert (record.data, record.addresses) == ("/data", ["127.0.0.1:6789"])
    with pytest.raises(ConfigError, match=rf"another cluster uses this folder \(pid {os.getpid()}, data /data\)"):
        RunFolder.open(run_folder)
    folder._fd = os.dup(folder._fd)  # the fixture removes the folder
    os.close(folder._fd)


def test_run_folder_that_others_may_write_to_is_refused(run_folder: Path) -> None:
    """In /tmp anybody could lay one out for us."""
    run_folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"others may write to the folder \(mode 777\)"):
        RunFolder.open(run_folder)


def test_run_folder_behind_a_link_is_refused(run_folder: Path) -> None:
    (run_folder / "real").mkdir(mode=0o700)
    (run_folder / "link").symlink_to(run_folder / "real")
    with pytest.raises(ConfigError, match="run = "):
        RunFolder.open(run_folder / "link")


def test_run_folder_of_another_user_is_refused(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=rf"belongs to another user \(uid {owner}\)"):
        RunFolder.open(run_folder)
