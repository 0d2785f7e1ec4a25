"""Work that the supervisor has to have done before it serves, in a process of its own.

It may use threads and memory as it likes: nothing of that is left in the supervisor, which forks all others later.
"""

import os
import sys
from collections.abc import Callable
from typing import Final

import structlog

from flashq.cluster.children import how_it_ended
from flashq.cluster.linux import die_with_parent, set_process_name
from flashq.errors import FlashqError, StorageError

_REFUSED: Final = 3
log = structlog.get_logger()


def carry_out(name: str, work: Callable[[], object]) -> None:
    """Do it and wait for its end. Raises StorageError with the words of any FlashqError of it, or how it ended."""
    reading, writing = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70  # for what not even a log line could be written about
        try:
            os.close(reading)
            die_with_parent(parent)
            set_process_name(f"flashq-{name}")
            code = _worked(work, writing)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        words = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise StorageError(words or f"{name} {how_it_ended(code)}")


def _worked(work: Callable[[], object], writing: int) -> int:
    try:
        work()
    except FlashqError as error:
        os.write(writing, str(error).encode()[:4096])
        return _REFUSED
    except Exception:  # the last frame of a process of its own: the log has it, its parent the exit code
        log.exception("process failed")
        return 1
    return 0
