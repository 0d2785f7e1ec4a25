"""FLOW and GETCHILDREN."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from flashq.engine import queries
from flashq.engine.drafts import begin
from flashq.engine.engine import Engine
from flashq.engine.flows import BUNDLED_FROM, children_of_root, plan_of
from flashq.engine.jobs import Job, Link
from flashq.errors import FlashqError, InvalidArgument, JobNotFound, OutOfMemory
from flashq.protocol import commands as c
from flashq.protocol.dispatch import Codec
from flashq.protocol.jobs import encode_binary, encode_text
from flashq.protocol.slots import ID_MAX
from flashq.shard.depending import answer
from flashq.shard.internal import WORDS, Answer, ask
from flashq.shard.rendering import view_of
from flashq.shard.verbs import Fields, Request, Verb, by_queue

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


# -- flows


def _flow(here: "ShardDispatcher", request: Request) -> Fields | None:
    if here.refusal:
        raise OutOfMemory(here.refusal)
    engine = here.engine
    # What has a ttl or a timeout is a record, so where all jobs have, none is plain.
    plain = not (engine.defaults.ttl_ms or engine.defaults.timeout_ms)
    plan = plan_of(engine.limits, request.command, request.codec, bundled_from=BUNDLED_FROM if plain else 1 << 30)
    draft = begin(engine, request.codec, plan)
    answer(here, request, draft, lambda: {"parent_id": draft.root, "children_ids": children_of_root(draft)})
    return None


# -- children


def by_parent(command: c.GetChildren) -> int:
    if command.parent_id > ID_MAX:
        raise InvalidArgument(f"invalid value: `parent_id` is {command.parent_id}, ids are below 2^53")
    return command.parent_id & 1023


def _link_of_parent(engine: Engine, parent_id: int) -> Link:
    seen = queries.find(engine, parent_id)
    job = seen.page.jobs[seen.place] if seen is not None else None
    if type(job) is not Job or job.link is None or job.link.children is None:
        raise JobNotFound(f"Parent job {parent_id} not found")
    return job.link


def _get_children(here: "ShardDispatcher", request: Request) -> Fields | None:
    """Children in their order, as far as they are known, wherever they are; no more of them than a reply holds."""
    parent_id = request.command.parent_id
    link = _link_of_parent(here.engine, parent_id)
    assert link.children is not None
    _Children(here, request, parent_id, link.children, len(link.children) - len(link.left or ())).ask()
    return None


class _Children:
    """One GETCHILDREN under way."""

    def __init__(
        self, here: "ShardDispatcher", request: Request, parent_id: int, ids: list[int], completed: int
    ) -> None:
        self._here = here
        self._parent_id = parent_id
        self._ids = ids
        self._completed = completed
        self._codec = int(request.codec)
        self._later = request.hold()
        self._found: dict[int, Raw] = {}
        self._partial = False
        self._open = 0

    def ask(self) -> None:
        by_shard: dict[int, list[int]] = {}
        for job_id in self._ids:
            by_shard.setdefault(self._here.owner_of(job_id & 1023), []).append(job_id)
        self._open = len(by_shard)
        for shard, ids in by_shard.items():
            ask(self._here, shard, "children", (self._codec, ids), self._came, self._failed)

    def _came(self, found: Any) -> None:
        self._found.update((job_id, Raw(body)) for job_id, body in found)
        self._heard()

    def _failed(self, error: FlashqError) -> None:
        self._partial = True
        self._heard()

    def _heard(self) -> None:
        self._open -= 1
        if not self._open:
            self._later.reply(self._fields())

    def _fields(self) -> Mapping[str, Any]:
        room = self._here.engine.limits.reply_bytes_max
        children: list[Raw] = []
        for job_id in self._ids:
            body = self._found.get(job_id)
            if body is None:
                continue
            room -= len(bytes(body))
            if room < 0 and children:
                self._partial = True
                break
            children.append(body)
        fields = {
            "parent_id": self._parent_id, "children": children, "completed": self._completed, "total": len(self._ids),
            "children_ids": self._ids,
        }  # fmt: skip
        return fields | {"partial": True} if self._partial else fields


def _children_here(here: "ShardDispatcher", value: Any, way: Answer) -> list[tuple[int, bytes]]:
    """Those of these jobs that are known here, rendered; no more than a reply holds."""
    codec, ids = value
    encode = encode_text if codec == Codec.TEXT else encode_binary
    room = here.engine.limits.reply_bytes_max
    found: list[tuple[int, bytes]] = []
    for job_id in ids:
        seen = queries.find(here.engine, job_id)
        if seen is None:
            continue
        body = encode(view_of(seen, codec))
        found.append((job_id, body))
        room -= len(body)
        if room < 0:
            break
    return found


WORDS["children"] = _children_here
VERBS: Final[dict[type[Any], Verb]] = {
    c.Flow: Verb(_flow, by_queue, keyed=True),
    c.GetChildren: Verb(_get_children, by_parent),
}
