"""Crons: jobs on a schedule.

Rules kept here
- A cron lives in the slot of its name. That it has run and when it runs next are one event, in one record with the
  message that makes its jobs; so no death of a process doubles a run or loses one.
- The jobs are made in the slot of their queue (cron_jobs.py): at once if this shard has it, else by the outbox. Those
  that have a custom id ask the slot of that name before (named_runs.py).
- A run whose time came while the shard was down, or longer than `LATE_MS` ago, is a misfire: `once` makes one job for
  all of them, `skip` none, `all` one each, up to `MADE_UP_MAX`.
- A cron that has made `limit` jobs is removed when it would be due again.

The slot of a queue knows the crons that are aimed at it, so that an obliterated queue takes its crons along, wherever
they live. Crons that fall due together are carried out in slices.
"""

from typing import TYPE_CHECKING, Any, Final

from flashq.engine import events, schedules
from flashq.engine.agenda import Agenda
from flashq.engine.outbox import HANDLERS, post
from flashq.errors import InvalidArgument, JobNotFound
from flashq.protocol.commands import FULL
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

LATE_MS: Final = 10_000
MADE_UP_MAX: Final = 1_000
RUNS_AT_ONCE: Final = 64
BYTES_AT_ONCE: Final = 1 << 20
"""Of frames that one run may put into a record; one job is always made."""
SLICE: Final = 64
"""What one go may cost: a cron is 8, each job more 1, each 16 KiB of its frame 1."""


class Cron:
    """One schedule, and the PUSH that each of its runs is."""

    __slots__ = (
        "behind", "codec", "executions", "frame", "limit", "made_at", "misfire", "moment", "name", "next_run", "queue",
        "repeat_every", "schedule", "timezone",
    )  # fmt: skip

    def __init__(self, event: events.CronSet, made_at: int) -> None:
        self.name = event.name
        self.queue = event.queue
        self.codec = event.codec
        self.frame = event.frame
        self.schedule = event.schedule
        self.repeat_every = event.repeat_every
        self.timezone = event.timezone
        self.misfire = event.misfire
        self.limit = event.limit
        self.next_run = event.next_run
        """0: its schedule has no more moments, or cannot be read any more."""
        self.made_at = made_at
        self.executions = 0
        self.behind = 0
        self.moment: Any = None


class Crons:
    """The crons of this shard, and which crons make jobs for its queues."""

    __slots__ = ("agenda", "aimed", "by_name", "since_ms")

    def __init__(self) -> None:
        self.by_name: dict[str, Cron] = {}
        self.agenda: Agenda[Cron] = Agenda(_ring)
        self.aimed: dict[str, dict[str, int]] = {}
        """Queue -> name of a cron -> when that was made, which tells it from another of its name."""
        self.since_ms = 0
        """When this process began to serve: what was due before is a misfire."""


def put(engine: "Engine", event: events.CronSet) -> None:
    """A request that was checked: the cron is made, or replaces the one of its name, executions 0."""
    old = engine.crons.by_name.get(event.name)
    if old is not None and old.queue != event.queue:
        _aim(engine, old, 0)
    set_(engine, event)
    engine.record(event)
    _aim(engine, engine.crons.by_name[event.name], engine.now_ms)


def delete(engine: "Engine", name: str) -> None:
    """CRONDELETE. Raises JobNotFound."""
    cron = engine.crons.by_name.get(name)
    if cron is None:
        raise JobNotFound("Cron job not found")
    _drop(engine, cron)


def obliterate(engine: "Engine", queue: str) -> None:
    """The queue is obliterated, in its own slot: the crons that are aimed at it go, wherever they live."""
    slot = slot_of_queue(queue)
    for name, made_at in list(engine.crons.aimed.get(queue, {}).items()):
        event = events.CronAimed(queue, name, 0)
        aim(engine, event)
        engine.record(event)
        post(engine, slot, slot_of_queue(name), "uncron", [name, made_at])


def start(engine: "Engine") -> None:
    """The shard begins to serve. Crons without a next run are looked at again: this program may know one."""
    engine.crons.since_ms = engine.now_ms
    for cron in engine.crons.by_name.values():
        if not cron.next_run and (next_run := _first(engine, cron)):
            event = events.CronRan(cron.name, 0, next_run, 0)
            ran(engine, event)
            engine.record(event, promise=False)


def _first(engine: "Engine", cron: Cron) -> int | None:
    try:
        return schedules.parsed(cron.schedule, cron.repeat_every, cron.timezone).first(engine.now_ms)
    except InvalidArgument:  # it was taken by another version, or with other zones: it stays listed, without a next run
        return None


# -- due


def _ring(engine: "Engine") -> None:
    """The first moment has come: carry out a slice of what is due."""
    cost = 0
    while cost < SLICE and (due := engine.crons.agenda.take(engine.now_ms, 1)):
        cost += _run(engine, due[0])


def _run(engine: "Engine", cron: Cron) -> int:
    """A cron is due; what it cost."""
    if cron.limit is not None and cron.executions >= cron.limit:
        _drop(engine, cron)
        return 8
    runs, next_run, behind = _runs_due(engine, cron)
    if cron.limit is not None:
        runs = runs[: cron.limit - cron.executions]
    event = events.CronRan(cron.name, len(runs), next_run or 0, behind)
    ran(engine, event)
    engine.record(event)
    if runs:
        _fire(engine, cron, runs)
    return 8 + len(runs) * (1 + (len(cron.frame) >> 14))


def _fire(engine: "Engine", cron: Cron, runs: list[int]) -> None:
    """Have the jobs made. Of several runs whose job has a custom id only one could make any."""
    slot = slot_of_queue(cron.name)
    name = _name_in(cron)
    if name is None:
        post(engine, slot, slot_of_queue(cron.queue), "fire", [runs, cron.codec, cron.frame])
    else:
        post(engine, slot, slot_of_queue(name), "run", [name, cron.queue, cron.codec, cron.frame])


def _name_in(cron: Cron) -> str | None:
    """The custom id that its PUSH asks for."""
    if b"job_id" not in cron.frame:
        return None
    name: str | None = FULL[Codec(cron.codec)](cron.frame).job_id
    return name


def _runs_due(engine: "Engine", cron: Cron) -> tuple[list[int], int | None, int]:
    """The runs to make now, the next one, and how many misfires were made up for while more of them are left."""
    now, at = engine.now_ms, cron.next_run
    try:
        schedule = schedules.parsed(cron.schedule, cron.repeat_every, cron.timezone)
    except InvalidArgument:  # as in `_first`
        return [at], None, 0
    most = max(1, min(RUNS_AT_ONCE, BYTES_AT_ONCE // len(cron.frame)))
    on_time = max(engine.crons.since_ms, now - LATE_MS)
    runs: list[int] = []
    following: int | None = at
    if at < on_time:
        if cron.misfire == "all":
            made_up = min(most, MADE_UP_MAX - cron.behind)
            while following is not None and following < on_time and len(runs) < made_up:
                runs.append(following)
                following = schedule.following(following, following)
            behind = cron.behind + len(runs)
            if following is not None and following < on_time and behind < MADE_UP_MAX:
                return runs, following, behind
        elif cron.misfire == "once":
            runs.append(at)
        if following is not None and following < on_time:
            following = schedule.following(following, on_time - 1)
    while following is not None and following <= now and len(runs) < most:
        runs.append(following)
        following = schedule.following(following, following)
    return runs, following, 0


def _drop(engine: "Engine", cron: Cron) -> None:
    event = events.CronRemoved(cron.name)
    removed(engine, event)
    engine.record(event)
    _aim(engine, cron, 0)


def _aim(engine: "Engine", cron: Cron, made_at: int) -> None:
    """Tell the queue's slot that the cron makes jobs for it; `made_at` 0: not any more."""
    body = [cron.queue, cron.name, made_at]
    post(engine, slot_of_queue(cron.name), slot_of_queue(cron.queue), "aim", body)


def _aimed(engine: "Engine", source: int, target: int, body: Any) -> None:
    event = events.CronAimed(*body)
    aim(engine, event)
    engine.record(event)


def _uncron(engine: "Engine", source: int, target: int, body: Any) -> None:
    """Its queue was obliterated. Another cron of that name, made since, stays."""
    name, made_at = body
    cron = engine.crons.by_name.get(name)
    if cron is not None and cron.made_at == made_at:
        event = events.CronRemoved(name)
        removed(engine, event)
        engine.record(event)


HANDLERS["aim"] = _aimed
HANDLERS["uncron"] = _uncron


# -- what was decided, live or in replay


def set_(engine: "Engine", event: events.CronSet) -> None:
    """The cron is there, and waits for its next run."""
    crons = engine.crons
    _rest(engine, event.name)
    cron = crons.by_name[event.name] = Cron(event, engine.now_ms)
    if cron.next_run:
        cron.moment = crons.agenda.add(engine, cron.next_run, cron)


def ran(engine: "Engine", event: events.CronRan) -> None:
    """It has made some jobs, and waits for its next run."""
    cron = engine.crons.by_name[event.name]
    _rest(engine, event.name)
    cron.executions += event.runs
    cron.behind = event.behind
    cron.next_run = event.next_run
    if cron.next_run:
        cron.moment = engine.crons.agenda.add(engine, cron.next_run, cron)


def removed(engine: "Engine", event: events.CronRemoved) -> None:
    """The cron is no more."""
    _rest(engine, event.name)
    del engine.crons.by_name[event.name]


def aim(engine: "Engine", event: events.CronAimed) -> None:
    """The queue's slot knows of a cron, or forgets it."""
    aimed = engine.crons.aimed
    if event.made_at:
        aimed.setdefault(event.queue, {})[event.name] = event.made_at
        return
    names = aimed.get(event.queue)
    if names is not None:
        names.pop(event.name, None)
        if not names:
            del aimed[event.queue]


def _rest(engine: "Engine", name: str) -> None:
    """Whatever the cron of this name waits for, it does not."""
    cron = engine.crons.by_name.get(name)
    if cron is not None and cron.moment is not None:
        engine.crons.agenda.cancel(cron.moment)
        cron.moment = None
