"""Flows: a parent that waits for its children, which may be flows themselves, in any queues of any slots.

A flow is flattened to the members of a draft, level by level, so that a parent comes before its children and children
in the order in which they were given; accepted as a whole (drafts.py), its children are ordinary jobs that know their
parent, and the parent is held until all of them have completed (dependencies.py).
"""

from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Raw

from flashq.engine import drafts
from flashq.engine.drafts import Bunch, Draft, Member, Plan
from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.engine.settings import Limits
from flashq.engine.storing import refusal_of
from flashq.engine.validation import check_entry, check_queue_name
from flashq.errors import InvalidArgument, LimitExceeded, RequestError
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import NULL, Flow, FlowChild, JobOptions
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue

CHILDREN_MAX: Final = 100_000
"""In one flow, at all levels together."""
BUNDLED_FROM: Final = 64
"""Fewer are not worth a page of ids of their own."""
_OPTIONS: Final = tuple(field.name for field in msgspec.structs.fields(JobOptions))


def as_child(queue: str, options: JobOptions, data: Raw) -> FlowChild:
    """A job with these options, as members of drafts are written."""
    return FlowChild(queue=queue, data=data, **{name: getattr(options, name) for name in _OPTIONS})


def plan_of(limits: Limits, flow: Flow, codec: int, *, bundled_from: int = BUNDLED_FROM) -> Plan:
    """The jobs of a flow. Raises InvalidArgument or LimitExceeded, naming the child that is at fault.

    Children without options are bundled where a parent has at least `bundled_from` of them in one queue.
    """
    planning = _Planning(limits, codec)
    root = as_child(flow.queue, flow, flow.data)
    planning.members.append(planning.member(root, 0, -1, ""))
    line: deque[tuple[list[FlowChild], int, str]] = deque([(flow.children, 0, "children")])
    while line:
        children, parent, where = line.popleft()
        if not children:
            error = InvalidArgument("Flow must have at least one child")
            raise error if parent == 0 else InvalidArgument(f"{where.removesuffix('.children')}: {error}")
        line += planning.family(children, parent, where)
    return planning.plan(bundled_from)


class _Planning:
    """A flow that is being flattened."""

    def __init__(self, limits: Limits, codec: int) -> None:
        self._limits = limits
        self._codec = codec
        self.members: list[Member] = []
        self._bunches: dict[tuple[str, int], Bunch] = {}
        self._families: list[tuple[int, int, int]] = []
        self._plain: dict[str, tuple[FlowChild, int]] = {}
        """By queue: a child without options, and the slot."""
        self._mixed: set[tuple[str, int]] = set()
        """(queue, parent) where some of the children have options: all are records there, so as to keep their order."""
        self._names: set[str] = set()
        """Custom ids; each is one job's."""
        self._jobs = 1

    def family(self, children: list[FlowChild], parent: int, where: str) -> list[tuple[list[FlowChild], int, str]]:
        """All children of one parent; what they have for children themselves."""
        first = self._jobs
        self._jobs += len(children)
        if self._jobs > CHILDREN_MAX + 1:
            raise LimitExceeded(f"Too many `children` ({self._jobs - 1} or more, max {CHILDREN_MAX})")
        self._families.append((parent, first, len(children)))
        nested = []
        text, most = self._codec == Codec.TEXT, self._limits.data_bytes_max
        for number, child in enumerate(children, first):
            # Spelled out for children without options, of which there may be thousands: 1 us each.
            data, child.data = child.data, NULL
            known = self._plain.get(child.queue)
            if known is None:
                known = self._new_queue(child.queue, f"{where}[{number - first}]")
            if child == known[0]:
                payload = bytes(data) if text else payload_of(data, self._codec)
                if len(payload) <= most:
                    self._bunch(child.queue, parent, payload, number)
                    continue
            child.data = data
            mine, child.children = child.children, None
            at = f"{where}[{number - first}]"
            self.members.append(self.member(child, number, parent, at))
            self._mixed.add((child.queue, parent))
            if mine is not None:
                nested.append((mine, number, f"{at}.children"))
        return nested

    def _new_queue(self, queue: str, where: str) -> tuple[FlowChild, int]:
        try:
            check_queue_name(queue)
        except RequestError as e:
            raise type(e)(f"{where}: {e}") from None
        known = self._plain[queue] = (FlowChild(queue=queue), slot_of_queue(queue))
        return known

    def _bunch(self, queue: str, parent: int, payload: bytes, number: int) -> None:
        bunch = self._bunches.get((queue, parent))
        if bunch is None:
            bunch = self._bunches[queue, parent] = Bunch(queue, self._plain[queue][1], parent, [], [])
        bunch.payloads.append(payload)
        bunch.numbers.append(number)

    def member(self, child: FlowChild, number: int, parent: int, where: str) -> Member:
        """Checked as a push is."""
        try:
            check_queue_name(child.queue)
            payload = payload_of(child.data, self._codec)
            check_entry(self._limits, child, payload, None)
            if child.job_id is not None:
                if child.job_id in self._names:
                    raise InvalidArgument(f"invalid value: `job_id` '{child.job_id[:64]}' is given twice in the flow")
                self._names.add(child.job_id)
        except RequestError as e:
            if not where:
                raise
            raise type(e)(f"{where}: {e}") from None
        return Member(child, payload, slot_of_queue(child.queue), number, parent, where)

    def plan(self, bundled_from: int) -> Plan:
        bunches = []
        for at, bunch in self._bunches.items():
            if len(bunch.payloads) >= bundled_from and at not in self._mixed:
                bunches.append(bunch)
                continue
            for number, payload in zip(bunch.numbers, bunch.payloads, strict=True):
                child = FlowChild(queue=bunch.queue, data=Raw(payload))
                self.members.append(Member(child, payload, bunch.slot, number, bunch.parent, ""))
        self.members.sort(key=_by_number)
        return Plan(self.members, bunches, self._families, self._jobs)


_by_number: Final = attrgetter("number")


def children_of_root(draft: Draft) -> list[int]:
    """The ids of the children of an accepted flow's parent, in the order in which they were given."""
    _, first, count = draft.plan.families[0]
    return draft.member_ids()[first : first + count]


def push_depending(
    engine: Engine, queue: Queue, codec: int, entries: Sequence[tuple[JobOptions, bytes]]
) -> tuple[Draft | None, list[tuple[int, RequestError]]]:
    """Well-formed jobs of which some depend on jobs in slots of other shards, as PUSHB.

    What is refused for its keys is named, (index, why); the rest, if there is any, is the draft, accepted or refused as
    a whole.
    """
    taken: set[tuple[str, str, str]] = set()
    members: list[Member] = []
    refused: list[tuple[int, RequestError]] = []
    for k, (options, payload) in enumerate(entries):
        child = as_child(queue.name, options, Raw(payload))
        error = refusal_of(engine, child, taken)
        if error is not None:
            refused.append((k, error))
            continue
        where = f"jobs[{k}]" if len(entries) > 1 else ""
        members.append(Member(child, payload, queue.slot.no, len(members), -1, where))
    plan = Plan(members, (), (), len(members))
    return drafts.begin(engine, codec, plan) if members else None, refused
