"""Lines that workers write about a job: kept with it, the latest hundred, forgotten with it."""

from typing import Final

from msgspec import Struct

from flashq.engine import events
from flashq.engine.ack import find
from flashq.engine.endings import as_record
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job
from flashq.engine.pages import Page
from flashq.engine.validation import check_text_size
from flashq.errors import JobNotFound

LINES_KEPT: Final = 100
BYTES_KEPT: Final = 1 << 20
"""Of the messages of one job, so that they fit into one reply."""
DEFAULT_LEVEL: Final = "info"


class Line(Struct, frozen=True, gc=False):
    """One line, as it is on the wire."""

    timestamp: int
    message: str
    level: str


def log(engine: Engine, job_id: int, message: str, level: str | None) -> None:
    """A line about a job that is kept, whatever its state. Raises JobNotFound, or LimitExceeded for a long one."""
    level = DEFAULT_LEVEL if level is None else level
    check_text_size("message", message, engine.limits.text_bytes_max)
    check_text_size("level", level, engine.limits.name_bytes_max)
    page, i = find(engine, job_id)
    job = page.jobs[i]
    old = job.logs if type(job) is Job else None
    event = events.Logged(job_id, level, message, _surplus(old or [], message))
    engine.record(event)
    write(engine, page, i, event)


def _surplus(old: list[tuple[int, str, str]], message: str) -> int:
    """How many of the oldest lines have to go for one more."""
    drop = max(0, len(old) + 1 - LINES_KEPT)
    # Four bytes a character at most: counted so that no line is encoded again for each that is added.
    room = BYTES_KEPT - 4 * len(message) - sum(4 * len(line[1]) for line in old[drop:])
    while room < 0 and drop < len(old):
        room += 4 * len(old[drop][1])
        drop += 1
    return drop


def write(engine: Engine, page: Page, i: int, event: events.Logged) -> None:
    """Decided, live or in replay."""
    job = as_record(page, i)
    lines = job.logs
    if lines is None:
        lines = job.logs = []
    del lines[: event.dropped]
    lines.append((engine.now_ms, event.message, event.level))


def lines_of(engine: Engine, job_id: int) -> list[Line]:
    """What is kept of a job's lines, oldest first; nothing for a job that is not known."""
    try:
        page, i = find(engine, job_id)
    except JobNotFound:
        return []
    job = page.jobs[i]
    return [Line(*line) for line in job.logs or ()] if type(job) is Job else []
