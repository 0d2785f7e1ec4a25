"""A slot's part of a push that is not accepted yet: its jobs are stored and held, and the slot that leads is told when
all that they depend on is known and watched, and their names are theirs (part_names.py). See drafts.py for the whole.
"""

from collections.abc import Iterable

from msgspec import Struct

from flashq.engine.bundles import Bundle, ids_of
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job
from flashq.engine.links import ASKED, UNKNOWN, note
from flashq.engine.outbox import post
from flashq.engine.watching import unknown_dependency

Refusal = tuple[int, str, str]
"""(place in the part, text, code)"""


class Part(Struct, array_like=True, gc=False):
    """What one slot has stored."""

    root: int
    slot: int
    ids: list[int]
    asked: int
    """Watches, and claims of names, that are not answered yet."""
    refusal: Refusal | None = None
    answered: bool = False
    lenient: list[int] = []
    """Jobs whose failure counts as completion for their parents."""
    bundles: list[Bundle] = []
    early: dict[int, list[int]] = {}
    """Who watches jobs of bundles already, by job: its client may hear of the acceptance before this slot does."""


def hear(engine: Engine, job: Job, fate: int, others: Iterable[int]) -> None:
    """A job of a part learns of another. Nothing follows from it before the whole is accepted."""
    link = job.link
    assert link is not None
    part = engine.parts[link.draft, job.queue.slot.no]
    unmet = link.unmet
    for other in others:
        if unmet is None or other not in unmet:
            if other not in (job.options.depends_on or ()):
                # A child that ended so soon that its slot was told of the acceptance before this one.
                link.left = {**(link.left or {}), other: fate}
            continue
        if unmet[other] == ASKED:
            part.asked -= 1
        if fate == UNKNOWN and part.refusal is None:
            error = unknown_dependency(other)
            part.refusal = (part.ids.index(job.id), str(error), error.code)
        note(job, unmet, other, fate)
    answer(engine, part)


def answer(engine: Engine, part: Part) -> None:
    """Tell who leads, once, when nothing is open any more."""
    if part.asked or part.answered:
        return
    part.answered = True
    ids = part.ids + [job_id for bundle in part.bundles for job_id in ids_of(bundle.runs)]
    refusal = list(part.refusal) if part.refusal is not None else None
    post(engine, part.slot, part.root & 1023, "stored", [part.root, part.slot, ids, refusal])
