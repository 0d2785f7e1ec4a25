"""The supervisor with real processes: births, deaths, words, locks and ends."""

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flashq.cluster.health import ClusterStatus, read_status, stop
from flashq.cluster.linux import start_ticks
from flashq.errors import DeadlineExceeded, Unavailable

SCRIPT = Path(__file__).with_name("play_cluster.py")
PATIENCE_S = 20.0


class Play:
    """A cluster of players (play_cluster.py), from outside."""

    def __init__(self, folder: Path, shards: int = 2, parts: dict[str, str] | None = None, **values: object) -> None:
        self.data, self.run = folder / "data", folder / "run"
        words = [f"{name}={value}" for name, value in values.items()]
        command = [sys.executable, str(SCRIPT), str(self.data), str(self.run), str(shards), json.dumps(parts or {})]
        self.process = subprocess.Popen(
            [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        assert self.process.stdout is not None
        self._pipe = self.process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self.text = ""

    def wait(self, pattern: str, *, behind: int = 0) -> re.Match[str]:
        """Wait until it has printed this, at or behind a position in its output."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.compile(pattern).search(self.text, behind)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in:\n{self.text}"
            assert self._read(left), f"ended without {pattern!r}:\n{self.text}"
        return found

    def _read(self, timeout_s: float) -> bool:
        select.select([self._pipe], [], [], timeout_s)
        try:
            data = os.read(self._pipe, 65536)
        except BlockingIOError:
            return True
        self.text += data.decode()
        return bool(data)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        while self._read(PATIENCE_S):
            pass
        return self.process.wait(PATIENCE_S)

    def status(self) -> ClusterStatus:
        return read_status(self.run)

    def pid(self, name: str) -> int:
        return next(process.pid for process in self.status().processes if process.name == name)

    def until(self, condition: Callable[[ClusterStatus], Any], what: str) -> ClusterStatus:
        """Shared memory has nothing to wait on: look until it says so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, f"{what} never came: {status.processes}\n{self.text}"
            self._read(0.01)
        return status

    def port(self) -> int:
        return int(self.wait(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def play(run_folder: Path) -> Iterator[Callable[..., Play]]:
    plays: list[Play] = []

    def start(*args: Any, **values: Any) -> Play:
        plays.append(Play(run_folder, *args, **values))
        return plays[-1]

    yield start
    for one in plays:
        one.close()


def started(play: Play) -> Play:
    play.wait("ready in")
    return play


def gone(pid: int) -> bool:
    return start_ticks(pid) is None


def wait_gone(pids: list[int]) -> None:
    """Wait for processes that are not ours to wait for."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            assert select.select([fd], [], [], PATIENCE_S)[0], f"process {pid} still lives"
            os.close(fd)


def test_cluster_says_a_line_for_each_component_then_that_it_is_ready(play: Callable[..., Play]) -> None:
    one = started(play(2))
    for name in ("shard-00", "shard-01", "router-0"):
        assert re.search(rf"^  {name} +pid \d+ +serving  as serve$", one.text, re.MULTILINE)
    one.wait(r"ready in \d\.\d\d s on 127\.0\.0\.1:\d+\n")
    one.wait(r"first job: +flashq push mail '\{\"to\":\"a\"\}' --address 127\.0\.0\.1:\d+\n")
    status = one.status()
    assert status.serving
    assert status.pid == one.process.pid
    assert status.addresses == [f"127.0.0.1:{one.port()}"]
    assert [shard.slots for shard in status.shards] == [512, 512]


def test_thirty_two_shards_are_ready_within_two_seconds(play: Callable[..., Play]) -> None:
    one = started(play(32))
    found = re.search(r"ready in (\d+\.\d+) s", one.text)
    assert found is not None
    assert float(found[1]) < 2


def test_child_has_its_name_its_control_socket_and_no_descriptor_of_another(play: Callable[..., Play]) -> None:
    one = started(play(3))
    held = {
        name: json.loads(fds.replace("'", '"')) for name, fds in re.findall(r"(\S+) lives \d+ \d+ (\[.*\])", one.text)
    }
    # Standard ones, the listing itself, the data lock, the control socket; and the door for the router.
    assert {name: len(fds) for name, fds in held.items()} == {
        "shard-00": 6,
        "shard-01": 6,
        "shard-02": 6,
        "router-0": 7,
    }
    comm = Path(f"/proc/{one.pid('shard-02')}/comm").read_text().strip()
    assert comm == "flashq-shard-02"


def test_every_start_of_a_process_has_an_incarnation_larger_than_all_before(play: Callable[..., Play]) -> None:
    """Leases and connections' ids are built on it: none may come twice, whatever was killed."""
    first = started(play(2))
    os.kill(first.pid("shard-00"), signal.SIGKILL)
    first.until(lambda s: s.processes[0].restarts == 1 and s.serving, "the restart")
    os.killpg(first.process.pid, signal.SIGKILL)
    first.end()
    second = started(play(2))
    before, after = ([int(n) for n in re.findall(r"lives \d+ (\d+)", one.text)] for one in (first, second))
    # Those that start together tell of themselves in any order; the restarted one came after them.
    assert len(set(before)) == 4
    assert max(before) == before[-1]
    assert len(set(after)) == 3
    assert min(after) > max(before)


def test_killed_shard_is_replaced_at_once_and_its_peers_hear_of_both(play: Callable[..., Play]) -> None:
    one = started(play(2))
    old = one.pid("shard-00")
    behind = len(one.text)
    os.kill(old, signal.SIGKILL)
    one.wait(r"shard-01 hears PeerGone\(name='shard-00', incarnation=1\)", behind=behind)
    one.wait(r"router-0 hears PeerGone\(name='shard-00', incarnation=1\)", behind=behind)
    one.wait(r"router-0 hears PeerReady\(name='shard-00', incarnation=4\)", behind=behind)
    one.wait(r"died .*component=shard-00.*killed by SIGKILL.*restart_in_ms=0", behind=behind)
    one.wait(r"shard-00 hears PeerReady\(name='router-0'", behind=behind)
    status = one.until(lambda s: s.serving, "the restart")
    assert status.processes[0].restarts == 1
    assert status.processes[0].pid != old


def test_killed_router_is_replaced_and_the_door_stays_open(play: Callable[..., Play]) -> None:
    one = started(play(1))
    os.kill(one.pid("router-0"), signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", one.port()), PATIENCE_S):
        one.until(lambda s: s.serving and s.processes[-1].restarts == 1, "the restart")


def test_component_that_refuses_stays_down_with_its_reason_while_others_serve(play: Callable[..., Play]) -> None:
    one = started(play(2, {"shard-01": "refuse"}))
    status = one.status()
    assert [(p.name, p.state, p.restarts) for p in status.processes] == [
        ("shard-00", "serving", 0),
        ("shard-01", "refused", 0),
        ("router-0", "serving", 0),
    ]
    assert status.processes[1].reason == "shard-01: damaged at offset 7"
    assert re.search(r"ready in .*, without shard-01 \(see above\)", one.text)


def test_cluster_whose_every_shard_refuses_ends_with_an_error(play: Callable[..., Play]) -> None:
    one = play(2, {"shard-00": "refuse", "shard-01": "refuse"})
    assert one.end() == 1
    assert "ready in" not in one.text
    assert "nothing is left that could serve" in one.text


def test_component_that_dies_again_and_again_is_restarted_ever_later(play: Callable[..., Play]) -> None:
    one = play(2, {"shard-00": "crash"})
    for delay in (0, 50, 100, 200):
        one.wait(rf"component=shard-00.*restart_in_ms={delay}\b")
    assert "ready in" not in one.text


def test_exception_nobody_expected_is_logged_and_told_as_reason(play: Callable[..., Play]) -> None:
    one = play(1, {"shard-00": "raise"})
    one.wait("Traceback")
    one.wait(r"died .*component=shard-00 +reason='ValueError: an error nobody expected'")


def test_shard_whose_heart_stops_is_killed_and_replaced(play: Callable[..., Play]) -> None:
    one = started(play(2, {"shard-01": "hang"}, heartbeat_limit_ms=1_500))
    old = one.pid("shard-01")
    one.wait(r"died +component=shard-01 +reason='hung: no heartbeat for \d\.\d s'")
    assert gone(old)
    assert one.status().processes[0].restarts == 0


def test_stopped_shard_counts_as_hung(play: Callable[..., Play]) -> None:
    """SIGSTOP is what a machine out of memory looks like."""
    one = started(play(1, heartbeat_limit_ms=1_500))
    os.kill(one.pid("shard-00"), signal.SIGSTOP)
    one.wait(r"died +component=shard-00 +reason='hung")
    one.until(lambda s: s.serving, "the restart")


def test_stopped_router_counts_as_hung_and_those_that_answer_live_on(play: Callable[..., Play]) -> None:
    """Connections would be taken in by the kernel for ever, and nobody would read what they say."""
    one = started(play(1, heartbeat_limit_ms=1_000))
    shard, router = one.pid("shard-00"), one.pid("router-0")
    os.kill(router, signal.SIGSTOP)
    one.wait(r"died +component=router-0 +reason='hung: no heartbeat for \d\.\d s'")
    assert gone(router)
    one.until(lambda s: s.serving, "the restart")
    assert one.pid("shard-00") == shard


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_goes_through_routers_then_shards_and_ends_with_zero(
    play: Callable[..., Play], number: signal.Signals, run_folder: Path
) -> None:
    one = started(play(2, unix_socket=run_folder / "door"))
    os.killpg(one.process.pid, number)  # the whole group, as a terminal and some service managers do
    assert one.end() == 0
    order = re.findall(r"(\S+) hears Stop", one.text)
    assert order[0] == "router-0"
    assert sorted(order[1:]) == ["shard-00", "shard-01"]
    assert not one.run.exists()
    assert not (run_folder / "door").exists()
    with pytest.raises(Unavailable, match="no cluster runs"):
        read_status(one.run)


def test_second_signal_kills_what_still_runs(play: Callable[..., Play]) -> None:
    one = started(play(2, {"shard-00": "deaf"}))
    pid = one.pid("shard-00")
    one.process.send_signal(signal.SIGTERM)
    one.wait("shard-00 hears Stop")
    one.process.send_signal(signal.SIGINT)
    assert one.end() == 128 + signal.SIGINT
    assert gone(pid)


def test_stop_that_takes_too_long_kills_and_says_whom(play: Callable[..., Play]) -> None:
    one = started(play(2, {"shard-01": "deaf"}, stop_timeout_ms=300))
    one.process.send_signal(signal.SIGTERM)
    assert one.end() == 1
    assert re.search(r"killing what still runs .*components=\['shard-01'\]", one.text)


def test_component_that_has_not_come_up_is_stopped_too(play: Callable[..., Play]) -> None:
    one = play(1, {"shard-00": "slow"})
    one.wait("shard-00 lives")
    one.wait("router-0 +pid .* serving")
    one.process.send_signal(signal.SIGTERM)
    one.wait("stopping")
    (one.data / "go").touch()
    assert one.end() == 0
    assert "ready in" not in one.text


def test_hang_up_has_tokens_and_certificates_read_again(play: Callable[..., Play]) -> None:
    one = started(play(1))
    os.killpg(one.process.pid, signal.SIGHUP)
    one.wait("reading tokens and certificates again")
    assert one.status().serving


def test_children_die_with_their_supervisor(play: Callable[..., Play]) -> None:
    one = started(play(2))
    pids = [process.pid for process in one.status().processes]
    one.process.kill()
    one.process.wait()  # its children may be dead before it is
    wait_gone(pids)
    with pytest.raises(Unavailable, match="is dead"):
        one.status()


def test_cluster_starts_again_right_after_kill_of_its_whole_group(play: Callable[..., Play], run_folder: Path) -> None:
    """Sockets, state, pids and locks of the dead do not hinder."""
    port = 0
    for _ in range(3):
        one = started(play(2, port=port, unix_socket=run_folder / "door"))
        port = one.port()
        os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
    assert started(play(2, port=port, unix_socket=run_folder / "door")).status().serving


def test_cluster_starts_again_right_after_kill_of_the_supervisor_alone(play: Callable[..., Play]) -> None:
    """Its children still die while the next one starts: it waits for the data they may write to."""
    one = started(play(2))
    one.process.kill()
    assert started(play(2)).status().serving


def test_second_cluster_on_the_same_data_is_refused_with_the_pid(play: Callable[..., Play], tmp_path: Path) -> None:
    one = started(play(2))
    two = play(2)
    assert two.end() == 2
    assert f"another cluster uses this folder (pid {one.process.pid})" in two.text
    assert one.status().serving


def test_second_cluster_on_the_same_port_is_refused(play: Callable[..., Play], tmp_path: Path) -> None:
    one = started(play(1))
    two = Play(tmp_path, 1, port=one.port())
    assert two.end() == 2
    two.close()
    assert f"cannot listen on 127.0.0.1:{one.port()}: another process listens there" in two.text


def test_shards_of_memory_are_any_number(play: Callable[..., Play]) -> None:
    for shards in (2, 3):
        one = started(play(shards, durability="memory"))
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 0


def test_stop_from_outside_returns_when_the_cluster_has_ended(play: Callable[..., Play]) -> None:
    one = started(play(1))
    stop(one.run)
    assert gone(one.process.pid)
    assert one.end() == 0
    with pytest.raises(Unavailable):
        stop(one.run)


def test_stop_from_outside_says_when_it_takes_too_long(play: Callable[..., Play]) -> None:
    one = started(play(1, {"shard-00": "deaf"}))
    with pytest.raises(DeadlineExceeded, match=f"pid {one.process.pid}"):
        stop(one.run, timeout_ms=100)


def test_supervisor_sleeps_while_nothing_happens(play: Callable[..., Play]) -> None:
    """Its time on a processor is that of a look at the heartbeats every few seconds."""
    one = started(play(2))
    waits = _voluntary_waits(one.process.pid)
    select.select([], [], [], 2.0)
    assert _voluntary_waits(one.process.pid) - waits <= 3


def test_supervisor_has_one_thread(play: Callable[..., Play]) -> None:
    """It forks: a lock that another thread holds at that moment is held for ever in the child."""
    one = started(play(1))
    assert len(list(Path(f"/proc/{one.process.pid}/task").iterdir())) == 1


def _voluntary_waits(pid: int) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_data_lock_is_free_only_when_the_last_process_has_ended(play: Callable[..., Play]) -> None:
    one = started(play(2))
    with (one.data / "cluster.lock").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pids = [process.pid for process in one.status().processes]
        os.killpg(one.process.pid, signal.SIGKILL)
        wait_gone([one.process.pid, *pids])
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
