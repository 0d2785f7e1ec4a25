"""Scopes: what a token may do, as verbs and the queues (or keys) they reach.

A scope is written `verb:pattern`, such as `push:mail-*`: `*` is any run of characters, `?` any one, everything else
itself. `admin` has no pattern, for it is about the server. A role is a list of verbs over one pattern.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from flashq.errors import InvalidArgument
from flashq.protocol.globs import Glob

PATTERN_CHARS_MAX: Final = 256
SCOPES_MAX: Final = 64
"""Of one token."""
CACHED_MAX: Final = 4_096
"""Answers remembered of one token; past that they are all forgotten, so that many names cost no memory."""
EVERY: Final = "*"


class Verb(StrEnum):
    """Classes of what can be done."""

    READ = "read"
    """See jobs, queues, figures and events."""
    PUSH = "push"
    """Add jobs."""
    WORK = "work"
    """Take jobs, report on them, finish them."""
    MANAGE = "manage"
    """Change queues, and jobs that one does not hold: pause, limits, cancel, dead letters, removal, crons, webhooks."""
    KV_READ = "kv_read"
    """See values; the pattern is one of keys."""
    KV_WRITE = "kv_write"
    """Change values; the pattern is one of keys."""
    ADMIN = "admin"
    """The server itself: settings, stop, tokens."""

    # That of Enum is Python, and costs more than all the rest of a look-up.
    __hash__ = str.__hash__


VERBS: Final = tuple(Verb)
_EVERYTHING: Final = tuple(verb for verb in Verb if verb is not Verb.ADMIN)
ROLES: Final[Mapping[str, tuple[Verb, ...]]] = {
    "viewer": (Verb.READ, Verb.KV_READ),
    "operator": _EVERYTHING,
    "admin": VERBS,
}
"""Presets: a role's name -> the verbs it has, over the patterns that are given with it, or all."""
_PATTERN: Final = re.compile(r"[^\s:\x00-\x1f\x7f]+")


class Scope(NamedTuple):
    """One verb over one pattern."""

    verb: Verb
    pattern: str

    def __str__(self) -> str:
        return self.verb if self.verb is Verb.ADMIN else f"{self.verb}:{self.pattern}"


def parse_scope(text: str) -> Scope:
    """A scope as it is written. Raises InvalidArgument naming what is allowed."""
    verb, colon, pattern = text.strip().partition(":")
    if verb not in VERBS:
        raise InvalidArgument(f"invalid value: scope '{text[:80]}', allowed verbs are {', '.join(VERBS)}")
    if verb == Verb.ADMIN:
        if colon and pattern != EVERY:
            raise InvalidArgument(f"invalid value: scope '{text[:80]}', `admin` has no pattern")
        return Scope(Verb.ADMIN, EVERY)
    if len(pattern) > PATTERN_CHARS_MAX or not _PATTERN.fullmatch(pattern):
        raise InvalidArgument(
            f"invalid value: scope '{text[:80]}', allowed is verb:pattern with a pattern of 1 to {PATTERN_CHARS_MAX} "
            "characters, such as push:mail-*"
        )
    return Scope(Verb(verb), pattern)


def scopes_of(role: str | None, patterns: Iterable[str], scopes: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes of a role over patterns (none: all), and those beside it. Raises InvalidArgument."""
    found: dict[Scope, None] = {}
    patterns = tuple(patterns)
    if role is not None:
        if role not in ROLES:
            raise InvalidArgument(f"invalid value: `role` is '{role[:80]}', allowed are {', '.join(ROLES)}")
        for verb in ROLES[role]:
            for pattern in (EVERY,) if verb is Verb.ADMIN else patterns or (EVERY,):
                found[parse_scope(f"{verb}:{pattern}")] = None
    elif patterns:
        raise InvalidArgument("invalid value: `queues` goes with `role`; beside `scopes` each has its own pattern")
    for text in scopes:
        found[parse_scope(text)] = None
    if not 1 <= len(found) <= SCOPES_MAX:
        raise InvalidArgument(f"invalid value: a token has 1 to {SCOPES_MAX} scopes, by `role` or `scopes`")
    return tuple(found)


class Reach:
    """What the scopes of one token reach together, ready to be asked."""

    __slots__ = ("_every", "_globs", "_known")

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self._every: set[Verb] = set()
        self._globs: dict[Verb, list[Glob]] = {}
        for scope in scopes:
            if scope.pattern == EVERY:
                self._every.add(scope.verb)
            else:
                self._globs.setdefault(scope.verb, []).append(Glob(scope.pattern))
        self._known: dict[tuple[Verb, str], bool] = {}

    def covers(self, verb: Verb, name: str) -> bool:
        """Whether it has a verb on a queue (or key) of this name."""
        known = self._known.get((verb, name))
        if known is None:
            known = verb in self._every or any(glob.matches(name) for glob in self._globs.get(verb, ()))
            if len(self._known) >= CACHED_MAX:
                self._known.clear()
            self._known[verb, name] = known
        return known

    def covers_every(self, verb: Verb) -> bool:
        """Whether it has a verb on all queues (or keys)."""
        return verb in self._every

    def covers_some(self, verb: Verb) -> bool:
        """Whether it has a verb on any queue (or key) at all."""
        return verb in self._every or verb in self._globs
