"""Timers, output and logs of the supervisor, and the talk between it and a child."""

import io
import os
from pathlib import Path
from typing import TextIO, cast

import pytest
import structlog

from flashq.cluster.children import Child, how_it_ended
from flashq.cluster.console import Console
from flashq.cluster.linux import start_ticks
from flashq.cluster.logs import _Lines, configure_logs
from flashq.cluster.roles import SHARD, Component, components
from flashq.cluster.timers import Timers
from flashq.config import Settings
from flashq.transport.child import (
    Control,
    Note,
    PeerGone,
    PeerReady,
    Ready,
    Refused,
    Report,
    Stop,
    control_pair,
)


def test_timers_run_in_the_order_of_their_moments() -> None:
    now = [1_000]
    timers = Timers(lambda: now[0])
    ran: list[str] = []
    assert timers.wait_s() is None
    timers.after(20, lambda: ran.append("b"))
    timers.after(10, lambda: ran.append("a"))
    timers.after(20, lambda: ran.append("c"))
    assert timers.wait_s() == 0.010
    now[0] += 20
    assert timers.wait_s() == 0
    timers.run_due()
    assert ran == ["a", "b", "c"]


def test_timer_that_plans_itself_again_does_not_starve_the_loop() -> None:
    timers = Timers(lambda: 0)
    ran: list[int] = []

    def again() -> None:
        ran.append(1)
        timers.after(0, again)

    timers.after(0, again)
    timers.run_due()
    assert ran == [1]


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_lines_that_nobody_reads_do_not_end_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    Console(Settings(), _Broken()).ready(1.0, ["127.0.0.1:6789"], [])
    lines = _Lines(cast(TextIO, _Broken()))
    assert lines.write("lost") == 4
    assert lines.lost == 1


def test_closing_line_tells_how_to_reach_another_address() -> None:
    out = io.StringIO()
    Console(Settings(), out).ready(0.5, ["127.0.0.1:7000", "/run/door"], [])
    assert out.getvalue() == (
        "ready in 0.50 s on 127.0.0.1:7000 and /run/door\n"
        '  first job:  flashq push mail \'{"to":"a"}\' --address 127.0.0.1:7000\n'
    )


def test_json_log_is_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        configure_logs(Settings(log_format="json"))
        Console(Settings(log_format="json")).ready(0.5, ["127.0.0.1:7000"], ["shard-01"])
    finally:
        structlog.reset_defaults()
    out, err = capfd.readouterr()
    assert out == ""
    assert '"event": "ready in 0.50 s, without shard-01 (see above)"' in err
    assert err.count("\n") == 1


def test_log_level_hides_what_is_below(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        configure_logs(Settings(log_level="error"))
        structlog.get_logger().warning("hidden")
        structlog.get_logger().error("shown")
    finally:
        structlog.reset_defaults()
    assert "hidden" not in (err := capfd.readouterr().err)
    assert "shown" in err


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "ended without being asked to"), (5, "ended with exit code 5"), (-9, "killed by SIGKILL")],
)
def test_end_of_a_process_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words


def test_cluster_has_its_shards_and_routers() -> None:
    names = [component.name for component in components(Settings(shards=2, routers=2, api_workers=2))]
    assert [name for name in names if name != "checkpointer"] == [
        "shard-00", "shard-01", "router-0", "router-1", "http-0", "http-1", "grpc-0", "webhooks",
    ]  # fmt: skip
    assert "http-0" not in [component.name for component in components(Settings(http=False))]
    assert "backups" not in names
    assert components(Settings(backup_dir=Path("/backups")))[-1].name == "backups"


def test_process_is_known_by_pid_and_start() -> None:
    assert start_ticks(os.getpid()) == start_ticks(os.getpid())
    assert start_ticks(2**22 + 1) is None


def _child() -> tuple[Child, Control]:
    ours, theirs = control_pair()
    child = Child(Component(SHARD, 0, "shard-00"), 0)
    child.control = ours
    ours.setblocking(False)
    return child, Control(theirs)


def test_child_and_supervisor_hear_each_other() -> None:
    child, control = _child()
    control.note("n" * 5_000)
    control.ready()
    control.refused("why")
    heard: list[Report] = child.reports()[0]
    assert heard == [Note("n" * 2_000), Ready(), Refused("why")]
    assert not child.tell([PeerReady("shard-01", 3), PeerGone("shard-01", 3), Stop()])
    assert control.orders() == [PeerReady("shard-01", 3), PeerGone("shard-01", 3), Stop()]
    control.close()
    assert child.reports() == ([], False)
    assert child.control is not None
    child.control.close()


def test_end_of_the_supervisor_is_heard_as_an_order_to_stop() -> None:
    child, control = _child()
    assert child.control is not None
    child.control.close()
    assert control.orders() == [Stop()]
    assert control.fileno() == -1


def test_child_that_does_not_listen_delays_nobody_and_misses_nothing() -> None:
    child, control = _child()
    orders = [PeerReady(f"shard-{n}", n) for n in range(5_000)]
    assert child.tell(orders)
    heard = []
    while waits := child.flush():
        heard += control.orders()
    heard += control.orders()
    assert not waits
    assert heard == orders
    control.close()
    assert child.control is not None
    child.control.close()
