"""Custom ids of a flow's jobs: claimed by each part for its jobs before the whole is accepted, one refusal refuses all.

Rules kept here
- The jobs are stored, held, when their names are claimed, so a name is bound to its job at once. What is refused is
  discarded, and lets go of its names as any job does that ceases to exist.
- A name that is another job's refuses the flow. Whether that job still holds it its own slot says.
- Whether a job of a draft holds its name is not known before the draft is decided (`names.holds_name`).

Messages: `part-claim` [root, slot, [[name, id], ...]] to the names' slot; `part-holds` [root, slot, [[holder, name,
id], ...]] from there to the holders' and `part-held` back, with whether each is held; `part-named` [root, slot, [[name,
id, held], ...]] to the part's slot.
"""

from collections import defaultdict
from typing import Any, Final

from flashq.engine import events, names
from flashq.engine.engine import Engine
from flashq.engine.names import FREE_ALL, RESERVED
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.parts import Part, answer
from flashq.engine.watching import find_job, watch
from flashq.errors import Duplicate
from flashq.protocol.slots import slot_of_queue


def start(engine: Engine, part: Part) -> None:
    """All of it is stored: find out about what its jobs depend on, and claim their names."""
    if part.asked:
        jobs = [job for job_id in part.ids if (job := find_job(engine, job_id)) is not None]
        watch(engine, [job for job in jobs if job.link is not None and job.link.unmet])
        claims: dict[int, list[Any]] = defaultdict(list)
        for job in jobs:
            if job.options.job_id is not None:
                claims[slot_of_queue(job.options.job_id)].append([job.options.job_id, job.id])
        for slot, pairs in claims.items():
            post(engine, part.slot, slot, "part-claim", [part.root, part.slot, pairs])
    answer(engine, part)


# -- the names' side


def _on_claim(engine: Engine, source: int, target: int, body: Any) -> None:
    root, slot, pairs = body
    mine: dict[str, int] = {}
    named: list[Any] = []
    asks: dict[int, list[Any]] = defaultdict(list)
    for name, job_id in pairs:
        holder = mine.get(name) or engine.names.bound.get(name)
        if holder is None:
            mine[name] = job_id
            named.append([name, job_id, False])
        elif holder == RESERVED or name in mine:
            named.append([name, job_id, True])
        else:
            asks[holder & 1023].append([holder, name, job_id])
    names.bind(engine, list(mine), list(mine.values()))
    for other, lines in asks.items():
        post(engine, target, other, "part-holds", [root, slot, lines])
    if named:
        post(engine, target, source, "part-named", [root, slot, named])


def _on_held(engine: Engine, source: int, target: int, body: Any) -> None:
    root, slot, lines = body
    mine: dict[str, int] = {}
    named: list[Any] = []
    for holder, name, job_id, held in lines:
        free = not held and engine.names.bound.get(name) in (holder, None)
        if free:
            mine[name] = job_id
        named.append([name, job_id, not free])
    names.bind(engine, list(mine), list(mine.values()))
    post(engine, target, slot, "part-named", [root, slot, named])


# -- the holders' side


def _on_holds(engine: Engine, source: int, target: int, body: Any) -> None:
    root, slot, lines = body
    # One that is still undecided counts: a flow waits for nobody.
    told = [[*line, names.holds_name(engine, line[0]) is not False] for line in lines]
    post(engine, target, source, "part-held", [root, slot, told])


# -- the part's side


def _on_named(engine: Engine, source: int, target: int, body: Any) -> None:
    root, slot, lines = body
    part = engine.parts.get((root, slot))
    if part is None:  # discarded meanwhile, when it had not got these names yet
        gone = [[name, job_id] for name, job_id, held in lines if not held]
        if gone:
            post(engine, target, source, FREE_ALL, gone)
        return
    event = events.PartNamed(root, slot, [(job_id, held) for _, job_id, held in lines])
    engine.record(event)
    named(engine, event)


def named(engine: Engine, event: events.PartNamed) -> None:
    """It was said of names of a part whose they are, live and in replay."""
    part = engine.parts[event.root, event.slot]
    for job_id, held in event.ids:
        part.asked -= 1
        job = find_job(engine, job_id)
        if held and part.refusal is None:
            name = job.options.job_id if job is not None else None
            text = f"Job with id '{(name or '')[:64]}' already exists"
            part.refusal = (part.ids.index(job_id), text, Duplicate.code)
    answer(engine, part)


_WORDS: Final = {
    "part-claim": _on_claim, "part-holds": _on_holds, "part-held": _on_held, "part-named": _on_named,
}  # fmt: skip
HANDLERS.update(_WORDS)
