"""What the start prints: a line a component, and the closing line that says where to knock."""

import sys
from collections.abc import Sequence
from typing import Final, TextIO

import structlog

from flashq.config import Settings

log = structlog.get_logger()
DEFAULT_ADDRESS: Final = "127.0.0.1:6789"


class Console:
    """Lines for people on stdout; with `log_format = "json"` the same as events in the log."""

    def __init__(self, settings: Settings, out: TextIO | None = None) -> None:
        self._settings = settings
        self._json = settings.log_format == "json"
        self._out = out or sys.stdout

    def starting(self, addresses: Sequence[str]) -> None:
        """What is being started."""
        s = self._settings
        if self._json:
            log.info("starting", shards=s.shards, routers=s.routers, durability=s.durability, data=str(s.data))
            return
        kinds = f"{_count(s.shards, 'shard')}, {_count(s.routers, 'router')}"
        self._print(f"flashq: {kinds}, durability {s.durability}, data in {s.data}, listening on {_all(addresses)}")

    def serves(self, name: str, pid: int, words: str) -> None:
        """One component has come up."""
        if self._json:
            log.info("serves", component=name, pid=pid, note=words)
        else:
            self._print(f"  {name:<13} pid {pid:<8} serving  {words}".rstrip())

    def refused(self, name: str, reason: str) -> None:
        """One component stays down."""
        if not self._json:  # The log has it either way.
            self._print(f"  {name:<13} REFUSED: {reason}")

    def ready(self, seconds: float, addresses: Sequence[str], refused: Sequence[str]) -> None:
        """All that can serve does."""
        but = f", without {', '.join(refused)} (see above)" if refused else ""
        if self._json:
            log.info(f"ready in {seconds:.2f} s{but}", addresses=list(addresses), refused=list(refused))
            return
        at = "" if addresses[0] == DEFAULT_ADDRESS else f" --address {addresses[0]}"
        self._print(f"ready in {seconds:.2f} s on {_all(addresses)}{but}")
        self._print(f'  first job:  flashq push mail \'{{"to":"a"}}\'{at}')

    def _print(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError as error:
            # Whoever started us has closed its end, or its disk is full: no reason to stop serving.
            log.warning("cannot print", line=line, error=str(error))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _all(addresses: Sequence[str]) -> str:
    return " and ".join(addresses)
