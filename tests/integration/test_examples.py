"""Each of the examples, run as its reader would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "worker": ["{'sent to': 'ann'}", "{'sent to': 'bob'}", "delayed for now", "{'sent to': 'eve'}"],
    "flow": ["3 pages have 8 words"],
    "cron": ["examples-nightly 30 2 * * *", "examples-often every 1000 ms", "ran: {'report': 'short'}"],
    "tenants": ["['big 0', 'big 1', 'small 0']", "['big 2']"],
    "dead_letters": [
        "failed after 2 attempts: amount is no number", "['attempt 1', 'attempt 2']", "back in the queue: 1",
        "{'amount': 12.5} paid",
    ],
    "events": ["pushed cats", "active ", "completed cats done"],
    "kv": ["visits: 10", "kept for a minute: True", "[[2], None, 1]", "['examples:a', 'examples:b']"],
    "once": [
        "Duplicate job with key: sync-ann", "same job: True", "by its name: {'n': 1}", "same answer: True",
    ],
}  # fmt: skip


def test_every_example_is_run_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example_says_what_it_should_and_says_it_again(name: str, cluster: Cluster) -> None:
    """Twice, as a reader might: the first run leaves nothing in the way of the second."""
    environment = os.environ | {"FLASHQ_ADDRESS": f"flashq://127.0.0.1:{cluster.port}"}
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, str(EXAMPLES / f"{name}.py")], env=environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert (run.returncode, run.stderr, run.stdout.splitlines()) == (0, "", SAYS[name])
