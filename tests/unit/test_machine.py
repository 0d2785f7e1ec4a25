"""What a container may use is its own limit, not the machine's memory."""

from pathlib import Path

import pytest

from flashq import machine
from flashq.machine import cgroup_limits


def _limit(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def test_least_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    """A service in a slice shares the slice's limit with its neighbours."""
    _limit(tmp_path, "memory.max", "max")
    _limit(tmp_path, "jobs.slice/memory.max", "1000")
    _limit(tmp_path, "jobs.slice/flashq.service/memory.max", "3000")
    assert min(cgroup_limits(tmp_path, "0::/jobs.slice/flashq.service\n")) == 1000


def test_group_seen_from_within_a_container_is_the_root(tmp_path: Path) -> None:
    """There the path in /proc names a group outside, which the container cannot see."""
    _limit(tmp_path, "memory.max", "2048")
    assert list(cgroup_limits(tmp_path, "0::/docker/0123abcd\n")) == [2048]


def test_first_version_is_read_from_its_own_tree(tmp_path: Path) -> None:
    _limit(tmp_path, "memory/box/memory.limit_in_bytes", "4096")
    assert list(cgroup_limits(tmp_path, "5:cpu,cpuacct:/\n4:memory:/box\n0::/\n")) == [4096]


def test_no_limit_is_none(tmp_path: Path) -> None:
    _limit(tmp_path, "memory.max", "max")
    assert list(cgroup_limits(tmp_path, "0::/\n")) == []


def test_memory_is_the_machines_when_no_group_limits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cgroup_limits", lambda root, own: iter(()))
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert machine.memory_bytes() == pytest.approx(total_kib * 1024, rel=0.01)


def test_cores_are_those_this_process_may_use() -> None:
    assert machine.cores() >= 1
