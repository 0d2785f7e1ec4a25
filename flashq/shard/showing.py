"""Replies to PUSH that show the whole job, for doors whose clients are used to that.

Only requests that ask for it (`forwarding.SHOW_JOB`) come here. A door that asked with a GETJOB behind each PUSH would
need a second way to the shard; here the job is still at hand, as it was when the push was carried out.
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec import UNSET

from flashq.access.scopes import Verb
from flashq.engine import queries
from flashq.engine.engine import Engine
from flashq.protocol.dispatch import Link, Ticket
from flashq.protocol.jobs import encode_text
from flashq.shard.rendering import view_of

MayShow = Callable[[str, Verb, str], bool]
"""As `Access.may`."""
_pushed: Final = re.compile(rb'\{"ok":true,"id":([0-9]+)[,}]').match


class Showing:
    """The link of one PUSH in text, whose reply shows the job. A job that is not here is left an id."""

    local = False
    takes_events = False
    __slots__ = ("_engine", "_link", "_may_show", "address", "codec", "gid", "principal", "wrong_tokens")

    def __init__(self, link: Link, engine: Engine, may_show: MayShow) -> None:
        self._link = link
        self._engine = engine
        self._may_show = may_show
        self.address = ""
        self.gid = link.gid
        self.codec = link.codec
        self.principal = link.principal
        self.wrong_tokens = 0

    def reply(self, body: bytes) -> None:
        """Answer, with the job."""
        self._link.reply(with_job(self._engine, body, self._may_show, self.principal))

    def hold(self, *, ordered: bool) -> Ticket:
        """Answer later, with the job as it is then."""
        return _ShowingLater(self, self._link.hold(ordered=ordered))

    def fatal(self, text: str, code: str) -> None:
        """Answer why the connection should end."""
        self._link.fatal(text, code)

    def forwarded_to(self, shard: int) -> None:
        """A request of a door stays with its door."""

    def push_event(self, body: bytes) -> None:
        """No event comes on it."""
        raise AssertionError("a push does not subscribe")

    def takes_jobs(self) -> bool:
        """As the client it is for."""
        return self._link.takes_jobs()


class _ShowingLater:
    __slots__ = ("_held", "_of")

    def __init__(self, of: Showing, held: Ticket) -> None:
        self._of = of
        self._held = held

    def takes_jobs(self) -> bool:
        return self._held.takes_jobs()

    def reply(self, body: bytes) -> bool:
        of = self._of
        return self._held.reply(with_job(of._engine, body, of._may_show, of.principal))


def with_job(engine: Engine, body: bytes, may_show: MayShow, principal: str) -> bytes:
    """A reply to PUSH, in text, with the job in place of its id; as it is if it is none, or the job is not here.

    A custom id may name a job of a queue that whoever pushes may not push to: that job is not shown.
    """
    found = _pushed(body)
    seen = queries.find(engine, int(found[1])) if found is not None else None
    if seen is None or not may_show(principal, Verb.PUSH, seen.page.queue.name):
        return body
    view = view_of(seen, 0)
    view.state = UNSET
    return b'{"ok":true,"job":%b,"success":true}\n' % encode_text(view)
