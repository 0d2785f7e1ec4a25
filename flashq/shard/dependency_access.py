"""Whether who pushes may let jobs wait for the jobs that `depends_on` names.

A job that waits for another tells its owner that the other is there, and when it ends; so whoever pushes it needs
`read` or `push` on the other's queue, which only the other's shard knows. Shards are asked before the push is carried
out, and what its connection sends meanwhile takes effect after it. Whoever may do everything is never asked about.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from flashq.errors import FlashqError
from flashq.protocol import commands as c
from flashq.protocol import replies
from flashq.protocol.dispatch import Link
from flashq.shard.gate import NO_REQ_ID, GatedLink
from flashq.shard.internal import WORDS, Answer, ask

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

MAY: Final = "may-depend"
"""[principal, ids] -> True, or the refusal."""


class AllowedLink(GatedLink):
    """A client, for the time of a push whose dependencies all shards allowed."""

    __slots__ = ()


def others_of(command: Any) -> set[int]:
    """All jobs that the jobs of a command are to depend on."""
    find = _OTHERS.get(type(command))
    return find(command) if find is not None else set()


def _of_push(command: Any) -> set[int]:
    return set(command.depends_on or ())


def _of_batch(command: Any) -> set[int]:
    return {other for job in command.jobs for other in job.depends_on or ()}


def _of_flow(command: Any) -> set[int]:
    found: set[int] = set()
    left = [command]
    while left:
        one = left.pop()
        found.update(one.depends_on or ())
        left.extend(one.children or ())
    return found


def _of_cron(command: Any) -> set[int]:
    return _of_push(command) | (_of_push(command.options) if command.options is not None else set())


_OTHERS: Final[dict[type[Any], Callable[[Any], set[int]]]] = {
    c.Push: _of_push, c.PushBatch: _of_batch, c.Flow: _of_flow, c.Cron: _of_cron,
}  # fmt: skip


def may_depend(here: "ShardDispatcher", link: Link, command: Any, frame: bytes) -> bool:
    """Whether a command of somebody with bounds may be carried out now; False: it will be, once shards have answered.

    Raises Forbidden where this shard knows that it may not.
    """
    if type(link) is AllowedLink:
        return True
    by_shard: dict[int, list[int]] = {}
    for other in sorted(others_of(command)):
        if here.engine.owns[other & 1023]:
            here.guard.check_dependency(link.principal, other)
        else:
            by_shard.setdefault(here.owner_of(other & 1023), []).append(other)
    if by_shard:
        _Asked(here, link, command, frame).ask(by_shard)
    return not by_shard


class _Asked:
    """One push whose dependencies other shards are asked about."""

    def __init__(self, here: "ShardDispatcher", link: Link, command: Any, frame: bytes) -> None:
        self._here = here
        self._req_id = bytes(command.reqId)
        self._link = AllowedLink(link, link.hold(ordered=self._req_id in NO_REQ_ID))
        self._frame = frame
        self._error: FlashqError | None = None
        self._open = 0
        here.gates.close(link.gid)

    def ask(self, by_shard: dict[int, list[int]]) -> None:
        self._open = len(by_shard)
        for shard, ids in by_shard.items():
            ask(self._here, shard, MAY, [self._link.principal, ids], self._came, self._failed)

    def _came(self, allowed: Any) -> None:
        self._heard()

    def _failed(self, error: FlashqError) -> None:
        self._error = error
        self._heard()

    def _heard(self) -> None:
        self._open -= 1
        if self._open:
            return
        if self._error is None:
            self._here.gates.open(self._link.gid, (self._link, self._frame))
        else:
            body = replies.failure(self._link.codec, self._error)
            self._link.reply(replies.with_req_id(self._link.codec, body, self._req_id))
            self._here.gates.open(self._link.gid)


def _may(here: "ShardDispatcher", value: tuple[str, Iterable[int]], way: Answer) -> bool:
    principal, ids = value
    for other in ids:
        here.guard.check_dependency(principal, other)
    return True


WORDS[MAY] = _may
