"""The least level that is written, while the cluster runs: a word in a file of the run folder, read at SIGHUP.

A cluster starts with the level of its configuration; whatever was said before is of the life before.
"""

import logging
from pathlib import Path
from typing import Final

import structlog

from flashq.config import LogLevel

FILE: Final = "log-level"
LEVELS: Final[dict[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
log = structlog.get_logger()


def say_level(run: Path, level: LogLevel) -> None:
    """Write down what is to be written; it counts when the cluster is told to look."""
    draft = run / f"{FILE}.draft"
    draft.write_text(level)
    draft.rename(run / FILE)


def forget_level(run: Path) -> None:
    """As configured."""
    (run / FILE).unlink(missing_ok=True)


def follow_level(run: Path) -> None:
    """Write from now on what the file says, if it is there. In this process, and in those that are forked from it."""
    try:
        level = (run / FILE).read_text().strip()
    except FileNotFoundError:
        return
    if level not in LEVELS:
        log.error("the log goes on as before", file=str(run / FILE), found=level[:64], allowed=list(LEVELS))
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))
