"""The file into which a doctor writes what is whole: a JSON document a line."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from flashq.cluster.doctor import Examined
from flashq.errors import ConfigError
from flashq.storage.export import exported
from flashq.storage.salvage import salvaged

FLUSH_BYTES: Final = 1 << 20


class Export:
    """One export; without a file it takes nothing."""

    def __init__(self, file: BinaryIO | None) -> None:
        self.lines: Counter[str] = Counter()
        """How many of each kind were written."""
        self._file = file

    @classmethod
    @contextmanager
    def to(cls, path: Path | None) -> "Iterator[Export]":
        """To a new file, which only we may read: it has payloads. On disk in the end. Raises ConfigError."""
        if path is None:
            yield cls(None)
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise ConfigError(f"--export {path}: {fault.strerror}: allowed is a file that is not there yet") from fault
        with open(fd, "wb", buffering=FLUSH_BYTES) as file:
            yield cls(file)
            file.flush()
            os.fsync(fd)

    def write(self, examined: Examined) -> None:
        """What is whole of a shard."""
        if self._file is None:
            return
        report = examined.report
        engine = examined.engine
        lines = exported(engine) if engine is not None else salvaged(Path(report.folder), report.shard)
        for line in lines:
            self.lines[line["kind"]] += 1
            self._file.write(msgspec.json.encode(line | {"shard": report.shard}) + b"\n")
