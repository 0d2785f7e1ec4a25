"""The walk of docs/grpc.md as it is written there, and its table of errors."""

import re
import subprocess
import sys
from pathlib import Path

from flashq.api.statuses import GRPC_STATUS_OF
from flashq.testing.cluster import Cluster

PAGE = (Path(__file__).parents[2] / "docs" / "grpc.md").read_text()


def test_walk_goes_as_it_is_written() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program.count("assert ") > 3
    with Cluster(shards=2, durability="commit", grpc=True) as cluster:
        asked = program.replace("localhost:6791", f"127.0.0.1:{cluster.grpc_port}")
        subprocess.run([sys.executable, "-c", asked], check=True, timeout=30)


def test_table_of_errors_is_that_of_the_door() -> None:
    told = {}
    for line in re.findall(r"^\| (`.*)\|$", PAGE, re.MULTILINE):
        codes, _, status = line.partition("|")
        told |= dict.fromkeys(re.findall(r"`(\w+)`", codes), status.split(":")[0].strip())
    assert told == dict(GRPC_STATUS_OF)
