"""Drafts: a push whose jobs lie in several slots, or depend on jobs elsewhere, is accepted or refused as a whole.

Rules kept here
- Each slot stores its part, whose jobs are held, and answers when all that they depend on is known and watched. When
  every slot has accepted, the slot that leads (the first job's) decides, and tells all of them in the same record.
- One refusal, or a deadline, and every slot discards its part: the push never was.
- A draft that its leader's process did not live to decide was promised to nobody: it is discarded at the next start,
  so that a client that repeats its request gets it once.

Messages, in order for each pair of slots: `store` [root, codec, frame, bundles] from the leader, `stored` [root, slot,
ids, refusal] back, then `accept` [root, parents, families, bundles' parents] or `discard` [root]. Slots of this shard
do all of it at once.
This is two-phase commit with presumed abort (J. Gray, Notes on Data Base Operating Systems, 1978).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from flashq.engine import events
from flashq.engine.engine import Engine
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.part_names import start
from flashq.engine.parts import Refusal
from flashq.engine.storing import Bundled, Entries, encoded, store
from flashq.errors import FlashqError, RequestError, Unavailable
from flashq.protocol.commands import FlowChild

DECIDED_WITHIN_MS: Final = 5_000
"""A shard that is killed serves again in much less."""


class Member(NamedTuple):
    """One job of a draft, with options or not."""

    child: FlowChild
    """Its queue and options, checked and folded; `children` None."""
    payload: bytes
    slot: int
    number: int
    """Its place among all jobs of the draft."""
    parent: int
    """The number of its parent, which is less than its own; -1: none."""
    where: str
    """How errors call it; empty: the request itself."""


class Bunch(NamedTuple):
    """Children of one parent, of one queue, without options (bundles.py)."""

    queue: str
    slot: int
    parent: int
    payloads: list[bytes]
    numbers: list[int]


class Plan(NamedTuple):
    """All jobs of a draft, and who is whose child."""

    members: Sequence[Member]
    """The first of them is number 0, and its slot leads."""
    bunches: Sequence[Bunch]
    families: Sequence[tuple[int, int, int]]
    """(number of a parent, of its first child, how many they are); children have neighbouring numbers."""
    jobs: int


NOTHING: Final = Plan((), (), (), 0)


class Draft:
    """One push that waits to be decided."""

    __slots__ = ("done", "error", "ids", "open", "plan", "refusal", "root", "slots", "timer")

    def __init__(self, root: int, slots: list[int], plan: Plan) -> None:
        self.root = root
        self.slots = slots
        self.plan = plan
        """`NOTHING` after a restart, which nothing survives that could be told of it."""
        self.open = set(slots)
        """Slots that have not answered."""
        self.ids: dict[int, list[int]] = {}
        """What each slot has stored: members, then bunches."""
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
        """The id of each job, by number. All slots have accepted."""
        plan = self.plan
        all_ids = [0] * plan.jobs
        each = {slot: iter(ids) for slot, ids in self.ids.items()}
        for member in plan.members:
            all_ids[member.number] = next(each[member.slot])
        for bunch in plan.bunches:
            for number, job_id in zip(bunch.numbers, each[bunch.slot], strict=False):
                all_ids[number] = job_id
        return all_ids


class Refused(RequestError):
    """What another slot refused, with its own code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code  # type: ignore[misc]


class _Share:
    """One slot's jobs of a draft that begins."""

    __slots__ = ("bundled", "members")

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.bundled: list[tuple[str, list[bytes]]] = []


def begin(engine: Engine, codec: int, plan: Plan) -> Draft:
    """Store a push by halves; the first member's slot, which is ours, leads. Look at `decided`, or set `done`.

    Raises what the leader's own slot refuses, with nothing stored.
    """
    shares: dict[int, _Share] = {}
    for member in plan.members:
        _share_of(shares, member.slot).members.append(member)
    for bunch in plan.bunches:
        _share_of(shares, bunch.slot).bundled.append((bunch.queue, bunch.payloads))
    frames = {slot: encoded(codec, [m.child for m in share.members]) for slot, share in shares.items()}
    lead = plan.members[0].slot
    own = shares[lead]
    part = store(engine, 0, lead, codec, frames[lead], _entries(own), own.bundled)
    if isinstance(part, tuple):
        raise _worded(own.members, part)
    root = part.root
    draft = engine.drafts[root] = Draft(root, list(shares), plan)
    engine.record(events.DraftBegun(root, draft.slots))
    start(engine, part)
    for slot, share in shares.items():
        if slot == lead:
            continue
        if engine.owns[slot]:
            _store(engine, root, slot, codec, frames[slot], _entries(share), share.bundled)
        else:
            post(engine, lead, slot, "store", [root, codec, frames[slot], [list(one) for one in share.bundled]])
    if not draft.decided:
        draft.timer = engine.mono_timers.add(engine.mono_ms + DECIDED_WITHIN_MS, _too_late, draft)
    return draft


def _share_of(shares: dict[int, _Share], slot: int) -> _Share:
    share = shares.get(slot)
    if share is None:
        share = shares[slot] = _Share()
    return share


def _entries(share: _Share) -> Entries:
    return [(member.child, member.payload) for member in share.members]


def _worded(group: Sequence[Member], refusal: Refusal) -> Refused:
    place, text, code = refusal
    where = group[place].where if place < len(group) else ""
    return Refused(f"{where}: {text}" if where else text, code)


# -- the slots' side


def _on_store(engine: Engine, source: int, target: int, body: Any) -> None:
    root, codec, frame, bundled = body
    _store(engine, root, target, codec, frame, None, bundled)


def _store(
    engine: Engine, root: int, slot: int, codec: int, frame: bytes, entries: Entries | None, bundled: Bundled
) -> None:  # fmt: skip
    part = store(engine, root, slot, codec, frame, entries, bundled)
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
        refuse(engine, draft, _worded([m for m in draft.plan.members if m.slot == slot], refusal))
        return
    _end(engine, draft, accepted=True)
    for slot, body in _bodies(draft).items():
        post(engine, draft.root & 1023, slot, "accept", body)
    if draft.done is not None:
        draft.done()


def _bodies(draft: Draft) -> dict[int, list[Any]]:
    """What each slot is told of the acceptance: parents of its members, its families, and parents of its bundles."""
    plan, ids = draft.plan, draft.member_ids()
    bodies: dict[int, list[Any]] = {slot: [draft.root, [], [], []] for slot in draft.slots}
    parents: dict[tuple[int, int], list[int]] = {}
    for member in plan.members:
        if member.parent >= 0:
            parents.setdefault((member.slot, ids[member.parent]), []).append(ids[member.number])
    for (slot, parent), children in parents.items():
        bodies[slot][1].append([parent, children])
    for number, first, count in plan.families:
        parent = ids[number]
        bodies[parent & 1023][2].append([parent, ids[first : first + count]])
    for bunch in plan.bunches:
        bodies[bunch.slot][3].append(ids[bunch.parent])
    return bodies


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
    engine.drafts[event.root] = Draft(event.root, event.slots, NOTHING)


def ended(engine: Engine, event: events.DraftEnded) -> None:
    engine.drafts.pop(event.root, None)


HANDLERS["store"] = _on_store
HANDLERS["stored"] = _on_stored
