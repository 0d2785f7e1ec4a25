"""Drafts: a push whose jobs lie in several slots, or depend on jobs elsewhere, is accepted or refused as a whole.

Rules kept here
- Each slot stores its part, whose jobs are held, and answers when all that they depend on is known and watched. When
  every slot has accepted, the slot that leads (the first job's) decides, and tells all of them in the same record.
- One refusal, or a deadline, and every slot discards its part: the push never was.
- A draft that its leader's process did not live to decide was promised to nobody: it is discarded at the next start,
  so that a client that repeats its request gets it once.

Messages, in order for each pair of slots: `store` [root, codec, frame] from the leader, `stored` [root, slot, ids,
refusal] back, then `accept` [root, parents, families] or `discard` [root]. Slots of this shard do all of it at once.
This is two-phase commit with presumed abort (J. Gray, Notes on Data Base Operating Systems, 1978).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from flashq.engine import events
from flashq.engine.engine import Engine
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.parts import Refusal, start
from flashq.engine.storing import Entries, encoded, store
from flashq.errors import FlashqError, RequestError, Unavailable
from flashq.protocol.commands import FlowChild

DECIDED_WITHIN_MS: Final = 5_000
"""A shard that is killed serves again in much less."""


class Member(NamedTuple):
    """One job of a draft."""

    child: FlowChild
    """Its queue and options, checked and folded; `children` None."""
    payload: bytes
    slot: int
    parent: int
    """The index of its parent among the members, which comes before it; -1: none."""
    where: str
    """How errors call it; empty: the request itself."""


class Draft:
    """One push that waits to be decided."""

    __slots__ = ("done", "error", "ids", "members", "open", "refusal", "root", "slots", "timer")

    def __init__(self, root: int, slots: list[int], members: Sequence[Member]) -> None:
        self.root = root
        self.slots = slots
        self.members = members
        """Empty after a restart, which nothing survives that could be told of it."""
        self.open = set(slots)
        """Slots that have not answered."""
        self.ids: dict[int, list[int]] = {}
        """What each slot has stored, in the order of the members."""
        self.refusal: tuple[int, Refusal] | None = None
        """The first: (slot, refusal)."""
        self.error: FlashqError | None = None
        """Why it was refused, once it is decided."""
        self.done: Callable[[], None] | None = None
        """Called when it is decided, if that is not at once."""
        self.timer: Any = None

    @property
    def decided(self) -> bool:
        return not self.open

    def member_ids(self) -> list[int]:
        """The id of each member."""
        each = {slot: iter(ids) for slot, ids in self.ids.items()}
        return [next(each[member.slot]) for member in self.members]


class Refused(RequestError):
    """What another slot refused, with its own code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code  # type: ignore[misc]


def begin(engine: Engine, codec: int, members: Sequence[Member]) -> Draft:
    """Store a push by halves; the first member's slot, which is ours, leads. Look at `decided`, or set `done`.

    Raises what the leader's own slot refuses, with nothing stored.
    """
    groups: dict[int, list[Member]] = {}
    for member in members:
        groups.setdefault(member.slot, []).append(member)
    lead = members[0].slot
    frames = {slot: encoded(codec, [m.child for m in group]) for slot, group in groups.items()}
    own = groups[lead]
    part = store(engine, 0, lead, codec, frames[lead], [(m.child, m.payload) for m in own])
    if isinstance(part, tuple):
        raise _worded(own, part)
    root = part.root
    draft = engine.drafts[root] = Draft(root, list(groups), members)
    engine.record(events.DraftBegun(root, draft.slots))
    start(engine, part)
    for slot, group in groups.items():
        if slot == lead:
            continue
        if engine.owns[slot]:
            _store(engine, root, slot, codec, frames[slot], [(m.child, m.payload) for m in group])
        else:
            post(engine, lead, slot, "store", [root, codec, frames[slot]])
    if not draft.decided:
        draft.timer = engine.mono_timers.add(engine.mono_ms + DECIDED_WITHIN_MS, _too_late, draft)
    return draft


def _worded(group: Sequence[Member], refusal: Refusal) -> Refused:
    place, text, code = refusal
    where = group[place].where if place < len(group) else ""
    return Refused(f"{where}: {text}" if where else text, code)


# -- the slots' side


def _on_store(engine: Engine, source: int, target: int, body: Any) -> None:
    root, codec, frame = body
    _store(engine, root, target, codec, frame, None)


def _store(engine: Engine, root: int, slot: int, codec: int, frame: bytes, entries: Entries | None) -> None:
    part = store(engine, root, slot, codec, frame, entries)
    if isinstance(part, tuple):
        post(engine, slot, root & 1023, "stored", [root, slot, [], list(part)])
    else:
        start(engine, part)


# -- the leader's side


def _on_stored(engine: Engine, source: int, target: int, body: Any) -> None:
    """A slot has answered. Of a draft that is decided already nothing is asked any more."""
    root, slot, ids, refusal = body
    draft = engine.drafts.get(root)
    if draft is None:
        return
    draft.open.discard(slot)
    draft.ids[slot] = ids
    if refusal is not None and draft.refusal is None:
        draft.refusal = slot, refusal
    if not draft.open:
        _decide(engine, draft)


def _decide(engine: Engine, draft: Draft) -> None:
    if draft.refusal is not None:
        slot, refusal = draft.refusal
        refuse(engine, draft, _worded([m for m in draft.members if m.slot == slot], refusal))
        return
    _end(engine, draft, accepted=True)
    parents, families = _families(draft)
    for slot in draft.slots:
        body = [draft.root, parents.get(slot, []), families.get(slot, [])]
        post(engine, draft.root & 1023, slot, "accept", body)
    if draft.done is not None:
        draft.done()


def _families(draft: Draft) -> tuple[dict[int, list[Any]], dict[int, list[Any]]]:
    """For each slot: the parents of its members, and the children of its members."""
    ids = draft.member_ids()
    parents: dict[int, dict[int, list[int]]] = {}
    children: dict[int, list[int]] = {}
    for member, job_id in zip(draft.members, ids, strict=True):
        if member.parent >= 0:
            children.setdefault(ids[member.parent], []).append(job_id)
            parents.setdefault(member.slot, {}).setdefault(ids[member.parent], []).append(job_id)
    families: dict[int, list[Any]] = {}
    for parent, its in children.items():
        families.setdefault(parent & 1023, []).append([parent, its])
    return {slot: [list(one) for one in its.items()] for slot, its in parents.items()}, families


def refuse(engine: Engine, draft: Draft, error: FlashqError) -> None:
    """The push never was."""
    draft.error = error
    draft.open.clear()
    _end(engine, draft, accepted=False)
    for slot in draft.slots:
        post(engine, draft.root & 1023, slot, "discard", [draft.root])
    if draft.done is not None:
        draft.done()


def _end(engine: Engine, draft: Draft, *, accepted: bool) -> None:
    event = events.DraftEnded(draft.root, accepted)
    engine.record(event)
    ended(engine, event)
    if draft.timer is not None:
        engine.mono_timers.cancel(draft.timer)


def _too_late(engine: Engine, draft: Draft) -> None:
    silent = ", ".join(str(slot) for slot in sorted(draft.open))
    error = Unavailable(f"Slots {silent} did not answer within {DECIDED_WITHIN_MS} ms: nothing is stored")
    refuse(engine, draft, error)


def abandon(engine: Engine) -> None:
    """At a start: nobody waits any more for what the last process had not decided."""
    for draft in list(engine.drafts.values()):
        refuse(engine, draft, Unavailable("The shard was restarted: nothing is stored"))


# -- replay


def begun(engine: Engine, event: events.DraftBegun) -> None:
    engine.drafts[event.root] = Draft(event.root, event.slots, ())


def ended(engine: Engine, event: events.DraftEnded) -> None:
    engine.drafts.pop(event.root, None)


HANDLERS["store"] = _on_store
HANDLERS["stored"] = _on_stored
