"""Access: who a token is, and what they may do; what every door of a process asks.

A door asks `admit` for a token that was shown, and `check` (or `check_command`) for what its holder wants:

    principal = access.admit(token, address)               # raises Unauthenticated, LockedOut
    access.check(principal, Verb.PUSH, "mail")             # raises Forbidden, Unauthenticated

Rules kept here
- A principal is a text that travels with requests, forwarded ones too, and with connections that are handed on. Those
  in `trusted` may do everything and cost one look into a set; all others are looked up, and nobody we do not know may
  do anything.
- A token that was revoked or has expired opens nothing from that moment on, whoever holds a connection by it.
- Where no tokens are configured and none was ever made, everybody is trusted.
"""

import hmac
import mmap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from flashq.access.book import GENERATION, TokenBook, wall_ms
from flashq.access.lockout import Lockout
from flashq.access.needs import Need, On, need_of
from flashq.access.scopes import Reach, Verb
from flashq.access.tokens import NamedToken, digest_of
from flashq.errors import ConfigError, Forbidden, LockedOut, Unauthenticated
from flashq.protocol.tokens import authenticator

log = structlog.get_logger()
SERVER: Final = "server"
"""Who asks when the server itself does, on nobody's behalf. No token is ever this."""
ANYONE: Final = "anyone"
"""Who a client is while everybody may enter."""
ANONYMOUS: Final = "anonymous"
"""Who showed a token while everybody may enter."""
USED_MS: Final = 60_000
"""That a token was shown is noted at most so often."""
GUESSES_MAX: Final = 20
STRANGER: Final = "Authentication required"


class Known:
    """A named token that is good, and what it reaches."""

    __slots__ = ("reach", "token", "used_ms")

    def __init__(self, token: NamedToken) -> None:
        self.token = token
        self.reach = Reach(token.parsed())
        self.used_ms = 0


class Access:
    """That of one process."""

    def __init__(
        self, auth_tokens: Sequence[str] = (), data: Path | None = None, *, now_ms: Callable[[], int] = wall_ms,
        guesses_max: int = GUESSES_MAX,
    ) -> None:  # fmt: skip
        """`data`: the folder with the book of named tokens; None: there is none. Raises ConfigError."""
        self._configured = authenticator(auth_tokens)
        self._configured_names = frozenset(f"token-{n + 1}" for n in range(len(auth_tokens)))
        self._now_ms = now_ms
        self._lockout = Lockout(guesses_max)
        self._known: dict[str, Known] = {}
        self._by_digest: dict[str, tuple[Known, int]] = {}
        """SHA-256 of a secret -> its token, and until when it is good; 0: for as long as the token is."""
        self.required = False
        """Whether a token has to be shown."""
        self.trusted: frozenset[str] = frozenset()
        """Principals that may do everything: looked at for every request, so it is no method."""
        self.on_change: list[Callable[[], None]] = []
        """Called after the book was read anew: who holds connections looks which of them still stand."""
        self.book: TokenBook | None = None
        self._generation: mmap.mmap | None = None
        self._read_at = b""
        if data is not None:
            self.book = TokenBook(data, now_ms)
            self.book.prepare()
            with open(self.book.folder / GENERATION, "rb") as file:
                self._generation = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
        self._read()

    # -- who

    def admit(self, token: str, address: str) -> str:
        """Who shows a token. One line of the log for each that is refused.

        Raises Unauthenticated for a wrong one, LockedOut for any while the address has shown too many of those.
        """
        if not self.required:
            return ANONYMOUS
        mono_ms = time.monotonic_ns() // 1_000_000
        wait_ms = self._lockout.wait_ms(address, mono_ms)
        if wait_ms:
            log.warning("a token was not looked at", client=address, locked_out_ms=wait_ms)
            raise LockedOut(wait_ms)
        principal = self.authenticate(token)
        if principal is None:
            self._lockout.wrong(address, token, mono_ms)
            log.warning("a token was refused", client=address)
            raise Unauthenticated("Invalid token")
        return principal

    def authenticate(self, token: str) -> str | None:
        """Who shows a token, without a count of wrong ones; None: nobody we know."""
        self.refresh()
        if not self.required:
            return ANONYMOUS
        principal = self._configured(token) if self._configured is not None else None
        return principal or self._named(token)

    def _named(self, token: str) -> str | None:
        # Found by its hash, which says nothing about the secrets that were close: no need to look at all of them.
        digest = digest_of(token)
        known, until = self._by_digest.get(digest, (None, 0))
        if known is None:
            return None
        now = self._now_ms()
        current = known.token
        same = hmac.compare_digest(digest, current.old_digest if until else current.digest)
        if not same or not current.stands(now) or (until and now >= until):
            return None
        if now - known.used_ms > USED_MS and self.book is not None:
            known.used_ms = now
            try:
                self.book.note_used(current)
            except OSError as error:  # a full disk is no reason to keep anybody out
                log.warning("that a token was used could not be noted", name=current.name, reason=error.strerror)
        return current.principal

    def stands(self, principal: str) -> bool:
        """Whether what a principal has open may stay so."""
        if principal in self.trusted:
            return True
        known = self._known.get(principal)
        return known is not None and known.token.stands(self._now_ms())

    # -- what

    def may(self, principal: str, verb: Verb, name: str) -> bool:
        """Whether a principal has a verb on a queue (for KV verbs: on a key)."""
        if principal in self.trusted:
            return True
        known = self._current(principal)
        return known is not None and known.reach.covers(verb, name)

    def check(self, principal: str, verb: Verb, name: str) -> None:
        """Raise Forbidden, which names the scope, unless a principal has a verb on a queue (or key)."""
        if principal not in self.trusted:
            known = self._get(principal)
            if not known.reach.covers(verb, name):
                raise _lacking(known, f"{verb}:{name[:256]}")

    def check_job(self, principal: str, verb: Verb, queue: str) -> None:
        """As `check`, for the queue of a job that was named by its id: the text does not tell which queue it is."""
        if principal not in self.trusted:
            known = self._get(principal)
            if not known.reach.covers(verb, queue):
                raise _lacking(known, f"{verb} on the job's queue")

    def check_dependency(self, principal: str, queue: str, job_id: int) -> None:
        """Raise Forbidden unless a principal may let jobs wait for this one: it tells that it is there, and its end."""
        if principal not in self.trusted:
            known = self._get(principal)
            if not known.reach.covers(Verb.READ, queue) and not known.reach.covers(Verb.PUSH, queue):
                raise _lacking(known, f"read or push on the queue of dependency {job_id}")

    def check_need(self, principal: str, need: Need, names: Sequence[str] = ()) -> None:
        """Raise Forbidden unless a principal has what a row of the table asks for.

        `names`: the queues or keys that are concerned; where they are known only later (the queue of a job), whoever
        knows them checks then, and here it is enough to have the verb on any.
        """
        if principal in self.trusted:
            return
        verb, on = need
        if on is On.NOTHING:
            return
        known = self._get(principal)
        reach = known.reach
        if on is On.SERVER or on is On.EVERY:
            if not reach.covers_every(verb):
                raise _lacking(known, str(need))
        elif not names and not reach.covers_some(verb):
            raise _lacking(known, f"{verb}:…")
        for name in names:
            if not reach.covers(verb, name):
                raise _lacking(known, f"{verb}:{name[:256]}")

    def check_command(self, principal: str, command: Any) -> None:
        """As `check_need`, for a decoded command: all that it says itself of what it concerns."""
        if principal not in self.trusted:
            need = need_of(type(command))
            # Nearly all that is asked: by hand, as the rest takes twice as long.
            if need.on is On.QUEUE and command.queue is not None:
                known = self._get(principal)
                if not known.reach.covers(need.verb, command.queue):
                    raise _lacking(known, f"{need.verb}:{command.queue[:256]}")
                return
            find = _NAMES.get(need.on)
            names = find(command) if find is not None else ()
            if names is None:  # it concerns all queues
                need, names = Need(need.verb, On.EVERY), ()
            self.check_need(principal, need, names)

    def _current(self, principal: str) -> Known | None:
        self.refresh()
        known = self._known.get(principal)
        return known if known is not None and known.token.stands(self._now_ms()) else None

    def _get(self, principal: str) -> Known:
        known = self._current(principal)
        if known is None:
            raise Unauthenticated(f"{STRANGER}: the token is not valid any more" if principal else STRANGER)
        return known

    # -- changes

    def refresh(self) -> None:
        """Read the book anew if it was changed: one look at eight bytes of memory."""
        if self._generation is not None and self._generation[:8] != self._read_at:
            self.reload()

    def reload(self) -> None:
        """Read the book anew. One that cannot be read leaves things as they were, and is logged."""
        try:
            self._read()
        except ConfigError as error:
            log.error("tokens stay as they were", reason=str(error))
        for call in self.on_change:
            call()

    def _read(self) -> None:
        # Before the book: a change that comes between the two is found at the next look.
        read_at = self._generation[:8] if self._generation is not None else b""
        content = self.book.read() if self.book is not None else None
        self._read_at = read_at
        old, now = self._known, self._now_ms()
        self._known, self._by_digest = {}, {}
        for token in content.tokens if content is not None else ():
            if not token.stands(now):
                continue
            known = Known(token)
            if token.principal in old:
                known.used_ms = old[token.principal].used_ms
            self._known[token.principal] = known
            self._by_digest[token.digest] = known, 0
            if token.old_digest:
                self._by_digest[token.old_digest] = known, token.old_until
        self.required = self._configured is not None or content is not None
        open_to = self._configured_names if self.required else frozenset(("", ANYONE, ANONYMOUS))
        self.trusted = open_to | {SERVER}

    @property
    def named(self) -> int:
        """How many named tokens are good."""
        return len(self._known)

    def next_end_ms(self) -> int | None:
        """When the next token expires, in Unix milliseconds."""
        return min((known.token.expires_at for known in self._known.values() if known.token.expires_at), default=None)


def _lacking(known: Known, scope: str) -> Forbidden:
    return Forbidden(f"Forbidden: token '{known.token.name}' lacks the scope {scope}")


def _queue_of(command: Any) -> tuple[str, ...] | None:
    return None if command.queue is None else (command.queue,)


def _queues_of_flow(command: Any) -> tuple[str, ...]:
    names: dict[str, None] = {}
    left = [command]
    while left:
        one = left.pop()
        names[one.queue] = None
        left.extend(one.children or ())
    return tuple(names)


_NAMES: Final[dict[On, Callable[[Any], tuple[str, ...] | None]]] = {
    On.QUEUE: _queue_of,
    On.FLOW: _queues_of_flow,
    On.CRON: lambda command: (command.queue,) if getattr(command, "queue", None) is not None else (),
    On.KEY: lambda command: (command.key,),
    On.KEYS: lambda command: tuple(command.keys),
    On.ENTRIES: lambda command: tuple(entry.key for entry in command.entries),
}
