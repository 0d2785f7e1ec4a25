"""The walk of docs/operations.md as it is written there."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flashq.testing.ports import PortLease

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.timeout(300)
def test_walk_goes_as_it_is_written(tmp_path: Path) -> None:
    """From a backup and a lost disk to the moment before a mistake."""
    (program,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert program.count("flashq restore ") == 1
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "flashq"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m flashq "$@"\n')
    command.chmod(0o700)
    lease = PortLease()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLASHQ_", "XDG_"))} | {
        "PATH": f"{command.parent}:{os.environ['PATH']}", "FLASHQ_PORT": str(lease.port), "FLASHQ_HTTP": "false",
        "FLASHQ_GRPC": "false", "FLASHQ_ADDRESS": f"127.0.0.1:{lease.port}",
    }  # fmt: skip
    walk = subprocess.Popen(
        ["/bin/bash", "-e", "-c", program], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = walk.communicate(timeout=280)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(walk.pid, signal.SIGKILL)  # a cluster that a step which failed has left
        lease.release()
    assert walk.returncode == 0, said
    assert "is as it was at" in said
    assert len([path for path in (tmp_path / "backups").iterdir() if path.name.startswith("flashq-")]) == 2
