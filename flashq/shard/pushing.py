"""PUSH and PUSHB of jobs with options: stored and answered at once, or when their names are known (naming.py)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flashq.engine.push import Entries, Pushed, check_entries, store
from flashq.engine.push_common import store_common
from flashq.engine.queues import Queue
from flashq.engine.settings import Limits
from flashq.errors import FlashqError
from flashq.protocol import commands_common
from flashq.shard import depending
from flashq.shard.naming import NamedPush
from flashq.shard.verbs import Later, Request

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

Shown = Callable[[Pushed], dict[str, Any]]
"""What became of the jobs -> the fields of the reply. Raises a FlashqError to refuse."""


def push(here: "ShardDispatcher", request: Request, queue: Queue, entries: Entries, shown: Shown) -> None:
    """Store jobs and answer. Raises a FlashqError, with nothing stored, where that is the answer."""
    has_names = check_entries(here.engine, entries)
    if depending.depends_elsewhere(here.engine, entries):
        if has_names:
            _push_when_known(here, request, queue, entries, shown)
        else:
            depending.push(here, request, queue, entries, shown)
        return
    if not has_names:
        request.reply(shown(store(here.engine, queue, request.codec, entries, request.frame, None)))
        return
    _push_named(here, request, queue, entries, shown)


def push_common(here: "ShardDispatcher", request: Request, queue: Queue, entries: Entries) -> None:
    """As `push`, for a batch that decoded as common (flashq/protocol/commands_common.py), so it is well-formed."""
    frame = request.frame
    if b"job_id" in frame and any(options.job_id is not None for options, _ in entries):
        _push_named(here, request, queue, entries, pushed_many)
    else:
        request.reply(pushed_many(store_common(here.engine, queue, request.codec, entries, frame)))


def within(limits: Limits) -> bool:
    """Whether what the decoder of common batches lets pass is within these limits."""
    return (
        limits.duration_ms_max >= commands_common.DELAY_MS_MAX
        and limits.name_bytes_max >= commands_common.NAME_BYTES_MAX
        and limits.tags_max >= commands_common.TAGS_MAX
    )


def _push_named(here: "ShardDispatcher", request: Request, queue: Queue, entries: Entries, shown: Shown) -> None:
    named = NamedPush(here, queue, request.codec, entries, request.frame)
    named.start()
    if named.outcome is not None:
        request.reply(shown(_settled(named.outcome)))
    else:
        later = _hold(here, request)
        named.on_end = lambda: _end(here, request, later, named, shown)


def _hold(here: "ShardDispatcher", request: Request) -> Later:
    """What its connection sends meanwhile takes effect after it."""
    later = request.hold()
    here.gates.close(request.link.gid)
    return later


def _end(here: "ShardDispatcher", request: Request, later: Later, named: NamedPush, shown: Shown) -> None:
    assert named.outcome is not None
    try:
        fields = shown(_settled(named.outcome))
    except FlashqError as e:
        later.refuse(e)
    else:
        later.reply(fields)
    here.gates.open(request.link.gid)


def _push_when_known(
    here: "ShardDispatcher", request: Request, queue: Queue, entries: Entries, shown: Shown
) -> None:  # fmt: skip
    """Some of the jobs have names, and some depend on jobs of other shards, who are asked first."""
    later = _hold(here, request)

    def known(error: FlashqError | None) -> None:
        named = NamedPush(here, queue, request.codec, entries, request.frame)
        if error is not None:
            named.outcome = error
        else:
            named.start()
        if named.outcome is not None:
            _end(here, request, later, named, shown)
        else:
            named.on_end = lambda: _end(here, request, later, named, shown)

    depending.KnownFirst(here, entries, known)


def _settled(outcome: Pushed | FlashqError) -> Pushed:
    if isinstance(outcome, FlashqError):
        raise outcome
    return outcome


def pushed_one(pushed: Pushed) -> dict[str, Any]:
    """The fields of a reply to PUSH. Raises what the job was refused with."""
    if pushed.refused:
        raise pushed.refused[0][1]
    return {"id": pushed.ids[0]}


def pushed_many(pushed: Pushed) -> dict[str, Any]:
    """The fields of a reply to PUSHB."""
    fields: dict[str, Any] = {"ids": pushed.ids}
    if pushed.refused:
        fields["errors"] = fields["failed"] = [{"index": k, "error": str(e), "code": e.code} for k, e in pushed.refused]
    return fields
