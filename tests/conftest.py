"""What all tests share: Hypothesis draws the same examples on every run, folders for sockets are short."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flashq.testing.postgres import PostgresServer

settings.register_profile(
    "flashq", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", parent=settings.get_profile("flashq"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "flashq"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of this process, each with a database of its own. It is not to be killed."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """A new folder whose path leaves room for sockets: `tmp_path` may be longer than the 107 bytes they have."""
    folder = Path(tempfile.mkdtemp(prefix="fq-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)
