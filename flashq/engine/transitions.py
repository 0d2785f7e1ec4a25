"""The life of a job as one table: (state, cause) -> state. The diagram in docs/protocol.md is drawn from it.

The functions that carry transitions out are spelled by hand, for whole batches where it matters; a test holds them to
the table, by random lives of which every step must be a row and which must between them take every row.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final

from flashq.engine.jobs import State
from flashq.engine.queries import WIRE


class Cause(Enum):
    """Why a job's state changed; its value is the label in the diagram."""

    PUSHED = "pushed"
    PUSHED_FOR_LATER = "pushed with delay"
    PUSHED_DEPENDING = "pushed with depends_on"
    PUSHED_AS_PARENT = "pushed as a flow's parent"
    DUE = "due"
    PROMOTED = "promoted"
    PULLED = "pulled"
    ACKED = "acked"
    RETRIED = "failed, tried again later"
    RETRIED_AT_ONCE = "failed, tried again at once"
    RETURNED = "worker gone"
    MOVED = "moved to delayed"
    MOVED_FOR_NOW = "moved to delayed by 0"
    GIVEN_UP = "attempts used up"
    DISCARDED = "discarded"
    REVIVED = "dead letter retried"
    REVIVED_DEPENDING = "dead letter retried, dependencies open"
    REVIVED_AS_PARENT = "dead letter retried, children open"
    RELEASED = "all done that it waits for"
    RELEASED_FOR_LATER = "all done, delay left"
    CHILDREN_DONE = "children done, dependencies open"
    NEEDS_FAILED = "dependency or child failed"
    CANCELLED = "cancelled"
    EXPIRED = "ttl passed"
    REMOVED = "drained, cleaned, purged"
    EVICTED = "retention over"
    DONE_UNKEPT = "acked, remove_on_complete"
    DEAD_UNKEPT = "given up, remove_on_fail"


_S = State
_C = Cause
_QUEUED: Final = (_S.WAITING, _S.DELAYED)
_HELD: Final = (_S.HELD, _S.PARENT)


def _from(states: Iterable[State], cause: Cause, to: State | None) -> dict[tuple[State | None, Cause], State | None]:
    return dict.fromkeys(((state, cause) for state in states), to)


TRANSITIONS: Final[Mapping[tuple[State | None, Cause], State | None]] = {
    (None, _C.PUSHED): _S.WAITING,
    (None, _C.PUSHED_FOR_LATER): _S.DELAYED,
    (None, _C.PUSHED_DEPENDING): _S.HELD,
    (None, _C.PUSHED_AS_PARENT): _S.PARENT,
    (_S.DELAYED, _C.DUE): _S.WAITING,
    (_S.DELAYED, _C.PROMOTED): _S.WAITING,
    (_S.WAITING, _C.PULLED): _S.ACTIVE,
    # Acked though it waits again: the work was done, only its lease had ended.
    **_from((_S.ACTIVE, *_QUEUED), _C.ACKED, _S.COMPLETED),
    (_S.ACTIVE, _C.RETRIED): _S.DELAYED,
    (_S.ACTIVE, _C.RETRIED_AT_ONCE): _S.WAITING,
    (_S.ACTIVE, _C.RETURNED): _S.WAITING,
    (_S.ACTIVE, _C.MOVED): _S.DELAYED,
    (_S.ACTIVE, _C.MOVED_FOR_NOW): _S.WAITING,
    (_S.ACTIVE, _C.GIVEN_UP): _S.FAILED,
    **_from((_S.ACTIVE, *_QUEUED), _C.DISCARDED, _S.FAILED),
    (_S.FAILED, _C.REVIVED): _S.WAITING,
    (_S.FAILED, _C.REVIVED_DEPENDING): _S.HELD,
    (_S.FAILED, _C.REVIVED_AS_PARENT): _S.PARENT,
    **_from(_HELD, _C.RELEASED, _S.WAITING),
    **_from(_HELD, _C.RELEASED_FOR_LATER, _S.DELAYED),
    (_S.PARENT, _C.CHILDREN_DONE): _S.HELD,
    **_from(_HELD, _C.NEEDS_FAILED, _S.FAILED),
    **_from((*_QUEUED, _S.ACTIVE, *_HELD), _C.CANCELLED, None),
    # Only while no worker has had it.
    **_from((*_QUEUED, *_HELD), _C.EXPIRED, None),
    **_from((*_QUEUED, _S.ACTIVE, _S.COMPLETED, _S.FAILED, *_HELD), _C.REMOVED, None),
    (_S.COMPLETED, _C.EVICTED): None,
    **_from((_S.ACTIVE, *_QUEUED), _C.DONE_UNKEPT, None),
    **_from((_S.ACTIVE, *_QUEUED, *_HELD), _C.DEAD_UNKEPT, None),
}
"""None before it is pushed and after it is gone. Between two slots a flow's children are held until all are accepted,
as if they depended on each other."""


def diagram() -> Iterator[str]:
    """The table as lines of a Mermaid state diagram: an arrow for each pair of states, with all its causes."""
    arrows: dict[tuple[State | None, State | None], list[str]] = {}
    for (state, cause), to in TRANSITIONS.items():
        arrows.setdefault((state, to), []).append(cause.value)
    yield "stateDiagram-v2"
    for state in State:
        yield f'    state "{WIRE[state]}" as {state.name}'
    for (state, to), causes in arrows.items():
        yield f"    {_node(state)} --> {_node(to)} : {' / '.join(causes)}"


def _node(state: State | None) -> str:
    return "[*]" if state is None else state.name
