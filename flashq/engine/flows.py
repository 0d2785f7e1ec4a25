"""Flows: a parent that waits for its children, which may be flows themselves, in any queues of any slots.

A flow is flattened to the members of a draft, level by level, so that a parent comes before its children and children
in the order in which they were given; accepted as a whole (drafts.py), its children are ordinary jobs that know their
parent, and the parent is held until all of them have completed (dependencies.py).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from flashq.engine import drafts
from flashq.engine.drafts import Draft, Member
from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.engine.settings import Limits
from flashq.engine.storing import refusal_of
from flashq.engine.validation import check_entry, check_queue_name
from flashq.errors import InvalidArgument, LimitExceeded, RequestError
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import Flow, FlowChild, JobOptions
from flashq.protocol.slots import slot_of_queue

CHILDREN_MAX: Final = 100_000
"""In one flow, at all levels together."""
_OPTIONS: Final = tuple(field.name for field in msgspec.structs.fields(JobOptions))


def as_child(queue: str, options: JobOptions, data: Raw) -> FlowChild:
    """A job with these options, as members of drafts are written."""
    return FlowChild(queue=queue, data=data, **{name: getattr(options, name) for name in _OPTIONS})


def members_of(limits: Limits, flow: Flow, codec: int) -> list[Member]:
    """The jobs of a flow. Raises InvalidArgument or LimitExceeded, naming the child that is at fault."""
    if not flow.children:
        raise InvalidArgument("Flow must have at least one child")
    members: list[Member] = []
    root = as_child(flow.queue, flow, flow.data)
    root.children = flow.children
    line: deque[tuple[FlowChild, int, str]] = deque([(root, -1, "")])
    slots: dict[str, int] = {}
    while line:
        child, parent, where = line.popleft()
        children, child.children = child.children, None
        slot = slots.get(child.queue)
        try:
            if slot is None:
                check_queue_name(child.queue)
                slot = slots[child.queue] = slot_of_queue(child.queue)
            payload = payload_of(child.data, codec)
            check_entry(limits, child, payload, None)
            if child.job_id is not None:
                raise InvalidArgument("invalid value: `job_id` cannot be given to jobs of a flow")
            if children is not None and not children:
                raise InvalidArgument("Flow must have at least one child")
        except RequestError as e:
            if not where:
                raise
            raise type(e)(f"{where}: {e}") from None
        if children:
            prefix = f"{where}.children" if where else "children"
            line += [(its, len(members), f"{prefix}[{k}]") for k, its in enumerate(children)]
        members.append(Member(child, payload, slot, parent, where))
        if len(members) + len(line) > CHILDREN_MAX + 1:
            n = len(members) + len(line) - 1
            raise LimitExceeded(f"Too many `children` ({n} or more, max {CHILDREN_MAX})")
    return members


def children_of_root(draft: Draft) -> list[int]:
    """The ids of the children of an accepted flow's parent, in the order in which they were given."""
    return [job_id for job_id, member in zip(draft.member_ids(), draft.members, strict=True) if member.parent == 0]


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
        else:
            members.append(Member(child, payload, queue.slot.no, -1, f"jobs[{k}]" if len(entries) > 1 else ""))
    return drafts.begin(engine, codec, members) if members else None, refused
