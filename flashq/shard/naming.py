"""Who claims which name: pushes of named jobs, and what shards ask each other about names.

A push of named jobs puts ids aside for them (candidates), claims its names shard by shard, and is carried out when it
knows of each whether it is its own now or another job's. Where this shard has all the names, and all the jobs that they
are bound to, that takes no time: it is one tick and one record.

- `name-claim` [names, candidates] -> for each 0 (it is yours now) or the id of the job that has it. The name's shard
  asks first whether a job that the name is bound to still holds it (`name-lives`), unless it has that job itself.
- `name-lives` [ids] -> for each whether its job is there and not completed. What is under way is waited for.

Nobody waits in a circle. Claims are made in the order of shards, one shard after the other, and at each shard those for
one name are decided in the order in which they came; so whoever waits, waits for a push that is further on its way:
at a later shard, or earlier at the same one. A connection's next push claims nothing before this one is over
(gate.py). A question that fails fails the push; it has stored nothing, and its candidates never will be.

Claims leave at the end of the tick, when the pages of their candidates are on disk.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flashq.engine import names
from flashq.engine.push import Entries, Pushed, store
from flashq.engine.queues import Queue
from flashq.errors import FlashqError
from flashq.protocol.slots import slot_of_queue
from flashq.shard import internal

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

CLAIM: Final = "name-claim"
LIVES: Final = "name-lives"
Fail = Callable[[FlashqError], Any]


class Claim:
    """The names of one push that are this shard's to give."""

    __slots__ = ("done", "fail", "got", "ids", "left", "names", "over")

    def __init__(
        self, names: Sequence[str], ids: Sequence[int], done: Callable[[list[int]], Any], fail: Fail
    ) -> None:  # fmt: skip
        self.names = names
        self.ids = ids
        self.got = [0] * len(names)
        self.left = len(names)
        self.done = done
        self.fail = fail
        self.over = False


class Naming:
    """One shard's part in the naming of jobs."""

    def __init__(self, here: "ShardDispatcher") -> None:
        self._here = here
        self._engine = here.engine
        self._checking: dict[str, deque[tuple[Claim, int]]] = {}
        """Names whose job is asked about: the claim that asks, and those behind it, with the place in each."""
        self._fresh: tuple[list[str], list[int]] = ([], [])
        """Names that were bound since the last event, and their candidates."""
        self._asks: dict[int, list[tuple[str, int]]] = {}
        """Bound names whose jobs are to be asked about, by shard."""
        self._finished: list[Claim] = []
        self.later: list[Callable[[], None]] = []
        """What is to be sent once this tick is on disk."""

    def send(self) -> None:
        """The tick is on disk."""
        for one in self.take_later():
            one()

    def take_later(self) -> list[Callable[[], None]]:
        """What is to be called when this tick is on disk."""
        later, self.later = self.later, []
        return later

    # -- the name's side

    def claim(self, names_: Sequence[str], ids: Sequence[int], done: Callable[[list[int]], Any], fail: Fail) -> None:
        """Claim names for candidates. `done` gets 0 or a job's id for each, perhaps before this returns."""
        if not self._checking and self._engine.names.bound.keys().isdisjoint(names_):
            names.bind(self._engine, names_, ids)
            done([0] * len(names_))
            return
        claim = Claim(names_, ids, done, fail)
        for k in range(len(names_)):
            self._try(claim, k)
        self._carry_on()

    def _try(self, claim: Claim, k: int) -> None:
        name = claim.names[k]
        line = self._checking.get(name)
        if line is not None:
            line.append((claim, k))
            return
        engine = self._engine
        job_id = engine.names.bound.get(name)
        if job_id is None:
            self._decide(claim, k, 0)
        elif job_id == names.RESERVED:
            self._checking[name] = deque(((claim, k),))
            engine.names.awaited.setdefault(name, []).append(lambda: self._try_again(name))
        elif not engine.owns[job_id & 1023]:
            self._checking[name] = deque(((claim, k),))
            self._asks.setdefault(self._here.owner_of(job_id & 1023), []).append((name, job_id))
        else:
            holds = names.holds_name(engine, job_id)
            if holds is None:
                self._checking[name] = deque(((claim, k),))
                names.wait_decided(engine, job_id, lambda there: self._heard([(name, job_id)], [there]))
            else:
                self._decide(claim, k, job_id if holds else 0)

    def _decide(self, claim: Claim, k: int, job_id: int) -> None:
        """The name is that job's; 0: it is free, or was that of a job that holds it no more."""
        if claim.over:
            return
        claim.got[k] = job_id
        if not job_id:
            # In the dictionary at once: the next claim for the name must see it.
            self._engine.names.bound[claim.names[k]] = claim.ids[k]
            self._fresh[0].append(claim.names[k])
            self._fresh[1].append(claim.ids[k])
        claim.left -= 1
        if not claim.left:
            claim.over = True
            self._finished.append(claim)

    def _heard(self, asked: list[tuple[str, int]], alive: list[bool]) -> None:
        """Whether the jobs that these names are bound to hold them."""
        for (name, job_id), holds in zip(asked, alive, strict=True):
            line = self._checking.pop(name)
            self._decide(*line.popleft(), job_id if holds else 0)
            for claim, k in line:
                self._try(claim, k)
        self._carry_on()

    def _try_again(self, name: str) -> None:
        """A run of a cron has decided whose a name is."""
        for claim, k in self._checking.pop(name):
            self._try(claim, k)
        self._carry_on()

    def _not_heard(self, asked: list[tuple[str, int]], error: FlashqError) -> None:
        for name, _ in asked:
            line = self._checking.pop(name)
            first = line.popleft()[0]
            if not first.over:
                first.over = True
                first.fail(error)
            for claim, k in line:
                self._try(claim, k)
        self._carry_on()

    def _carry_on(self) -> None:
        """Record what was decided, ask what is not known, answer what is complete."""
        fresh, self._fresh = self._fresh, ([], [])
        names.bind(self._engine, *fresh)
        asks, self._asks = self._asks, {}
        for shard, asked in asks.items():
            self._ask_about(shard, asked)
        finished, self._finished = self._finished, []
        for claim in finished:
            claim.done(claim.got)

    def _ask_about(self, shard: int, asked: list[tuple[str, int]]) -> None:
        internal.ask(
            self._here, shard, LIVES, [job_id for _, job_id in asked],
            lambda alive: self._heard(asked, alive), lambda error: self._not_heard(asked, error),
        )  # fmt: skip

    # -- the job's side

    def lives(self, ids: list[int], done: Callable[[list[bool]], Any]) -> None:
        """Say of each job whether it holds its name, when it is known of all."""
        engine = self._engine
        alive = [names.holds_name(engine, job_id) for job_id in ids]
        left = alive.count(None)
        if not left:
            done([bool(holds) for holds in alive])
            return

        def hear(k: int, there: bool) -> None:
            nonlocal left
            alive[k] = there
            left -= 1
            if not left:
                done([bool(holds) for holds in alive])

        for k, job_id in enumerate(ids):
            if alive[k] is None:
                names.wait_decided(engine, job_id, lambda there, k=k: hear(k, there))  # type: ignore[misc]


class NamedPush:
    """A push of which some jobs have names."""

    __slots__ = ("_claims", "_codec", "_entries", "_frame", "_here", "_queue", "_steps", "on_end", "outcome")

    def __init__(self, here: "ShardDispatcher", queue: Queue, codec: int, entries: Entries, frame: bytes) -> None:
        self._here = here
        self._queue = queue
        self._codec = codec
        self._entries = entries
        self._frame = frame
        self._claims = names.Claims([])
        self._steps: deque[tuple[int, list[str], list[int]]] = deque()
        self.outcome: Pushed | FlashqError | None = None
        """What came of it; None: it is under way."""
        self.on_end: Callable[[], Any] | None = None
        """Called when `outcome` is set later."""

    def start(self) -> None:
        """Put ids aside and claim; perhaps it is over when this returns."""
        wanted = list(dict.fromkeys(o.job_id for o, _ in self._entries if o.job_id is not None))
        ids = names.put_aside(self._here.engine, self._queue, self._codec, len(wanted))
        self._claims = names.Claims(ids)
        owner_of = self._here.owner_of
        parts: dict[int, tuple[list[str], list[int]]] = {}
        for name, job_id in zip(wanted, ids, strict=True):
            shard = owner_of(slot_of_queue(name))
            if shard not in parts:
                parts[shard] = ([], [])
            part = parts[shard]
            part[0].append(name)
            part[1].append(job_id)
        self._steps.extend((shard, *part) for shard, part in sorted(parts.items()))
        self._next()

    def _next(self) -> None:
        if not self._steps:
            self._carry_out()
            return
        shard, part, ids = self._steps.popleft()

        def came(got: list[int]) -> None:
            self._came(part, ids, got)

        naming = self._here.naming
        if shard == self._here.shard:
            naming.claim(part, ids, came, self._fail)
        else:
            naming.later.append(lambda: internal.ask(self._here, shard, CLAIM, [part, ids], came, self._fail))

    def _came(self, part: list[str], ids: list[int], got: list[int]) -> None:
        claims = self._claims
        if any(got):
            for name, candidate, job_id in zip(part, ids, got, strict=True):
                if job_id:
                    claims.there[name] = job_id
                else:
                    claims.mine[name] = candidate
        else:
            claims.mine.update(zip(part, ids, strict=True))
        self._next()

    def _carry_out(self) -> None:
        engine, claims = self._here.engine, self._claims
        if claims.candidates[0] >> 10 < self._queue.void_base:
            # The queue was obliterated meanwhile, with all pages that there were: start again, behind that.
            names.finish(engine, self._queue, claims)
            self.start()
            return
        pushed = store(engine, self._queue, self._codec, self._entries, self._frame, claims)
        names.finish(engine, self._queue, claims)
        self._end(pushed)

    def _fail(self, error: FlashqError) -> None:
        """A shard did not say; nothing is stored. What it may have bound the next claim takes over."""
        names.finish(self._here.engine, self._queue, self._claims)
        self._end(error)

    def _end(self, outcome: Pushed | FlashqError) -> None:
        self.outcome = outcome
        if self.on_end is not None:
            self.on_end()


def _claim(here: "ShardDispatcher", value: Any, way: internal.Answer) -> object:
    names_, ids = value
    here.naming.claim(names_, ids, way.give, way.refuse)
    return internal.NOT_YET


def _lives(here: "ShardDispatcher", value: Any, way: internal.Answer) -> object:
    here.naming.lives(value, way.give)
    return internal.NOT_YET


internal.WORDS[CLAIM] = _claim
internal.WORDS[LIVES] = _lives
