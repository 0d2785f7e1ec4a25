"""What one listener follows: which of the events it is told, and what it missed while it was away.

Who comes back says which event it saw last. While the shards are asked what happened behind that, what happens now is
held back, and told after it, each event once.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from flashq.api.http.live.listener import BUFFER_BYTES, Listener
from flashq.api.http.live.records import Form, ids
from flashq.errors import FlashqError, Unavailable
from flashq.transport.following import Batch, Behind, Following, Key, Position


class Subscription:
    """A `Hearer` of one or several topics, all of one kind."""

    def __init__(
        self, following: Following, keys: Sequence[Key], listener: Listener, form: Form, *,
        kinds: frozenset[str] | None, job_id: int = 0, saw: dict[int, Position] | None = None,
    ) -> None:  # fmt: skip
        """`job_id`: tell of this job alone; 0: of all. `saw`: what was seen last; None: it comes for the first time."""
        self._following = following
        self._keys = keys
        self._listener = listener
        self._form = form
        self._kinds = kinds
        self._job_id = job_id
        self._saw = saw
        self._held: list[Batch] | None = None if saw is None else []
        self._held_bytes = 0
        self._unheld: list[tuple[int, Position]] = []
        """Shards and positions of events that found no room among those held."""
        self._at: dict[int, Position] = {}
        """Its own positions, while it is told what it missed."""

    async def start(self) -> None:
        """Returns when it hears whatever happens from now on. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = []
        for key in self._keys:
            future: asyncio.Future[None] = loop.create_future()
            futures.append(future)
            self._following.follow(key, self, lambda error, f=future: _settle(f, error))  # type: ignore[misc]
        try:
            found = await asyncio.gather(*futures, return_exceptions=True)
        except asyncio.CancelledError:
            self.end()
            raise
        for error in found:
            if error is not None:
                self.end()
                raise error
        self._at = self._now()

    def end(self) -> None:
        """Hear nothing more."""
        for key in self._keys:
            self._following.leave(key, self)

    def _now(self) -> dict[int, Position]:
        return {shard: self._following.positions[shard] for shard, _ in self._keys}

    @property
    def id(self) -> str:
        """Where it stands, as an event's id."""
        shard = self._keys[0][0]
        at = self._at if self._held is not None else self._now()
        return ids(at, shard, at[shard])

    # -- now

    def hear(self, batch: Batch) -> None:
        """As `Hearer.hear`."""
        if self._held is not None:
            self._hold(batch)
            return
        positions = self._now() if len(self._keys) > 1 else {}
        for i in self._of(batch):
            self._listener.push(self._form.shared(batch, i, positions))

    def gap(self) -> None:
        """As `Hearer.gap`."""
        self._listener.gap()

    def _of(self, batch: Batch) -> Sequence[int]:
        mine = batch.of_job(self._job_id) if self._job_id else range(len(batch.numbers))
        kinds = self._kinds
        return mine if kinds is None else [i for i in mine if batch.happenings[i].kind in kinds]

    def _hold(self, batch: Batch) -> None:
        assert self._held is not None
        mine = self._of(batch)
        size = sum(len(batch.text(i)) for i in mine)
        if self._unheld or self._held_bytes + size > BUFFER_BYTES:
            self._unheld += [(batch.shard, (batch.epoch, batch.numbers[i])) for i in mine]
        elif mine:
            self._held.append(batch)
            self._held_bytes += size

    # -- what was missed

    async def catch_up(self) -> None:
        """Tell what was missed; from then on, what happens. Only for who has seen something before."""
        assert self._saw is not None
        for key in self._keys:
            shard, _ = key
            position = self._saw.get(shard)
            if position is None:
                self._listener.gap()
            else:
                self._at[shard] = position
        for key in self._keys:
            if key[0] in self._saw and not self._listener.ended:
                await self._catch_up_with(key)
        held, self._held = self._held, None
        for batch in held or ():
            self._tell(batch)
        # A notice may come after the answer that had the same events: those were told.
        self._listener.miss(sum(position > self._at[shard] for shard, position in self._unheld))
        self._unheld.clear()

    async def _catch_up_with(self, key: Key) -> None:
        shard, _ = key
        more = True
        while more and not self._listener.ended:
            await self._listener.drained()
            try:
                page = await self._behind(key, self._at[shard])
            except FlashqError:
                self._listener.gap()  # its shard is away: it is told all the same that there is something to miss
                self._at[shard] = self._following.positions[shard]
                return
            if page.gap:
                self._listener.gap()
            self._tell(Batch(shard, page.epoch, page.numbers, page.happenings))
            self._at[shard] = (page.epoch, page.through)
            more = page.more

    def _tell(self, batch: Batch) -> None:
        for i in self._of(batch):
            position = (batch.epoch, batch.numbers[i])
            if position > self._at[batch.shard]:
                self._at[batch.shard] = position
                others: dict[int, Position] = self._at if len(self._keys) > 1 else _NONE
                self._listener.push(self._form.own(batch, i, others))

    async def _behind(self, key: Key, position: Position) -> Behind:
        came: asyncio.Future[Behind] = asyncio.get_running_loop().create_future()

        def answered(page: Behind) -> None:
            if not came.done():
                came.set_result(page)

        self._following.behind(key, position, self._job_id, answered, lambda error: _settle(came, error))
        return await came


def _settle(future: "asyncio.Future[None] | asyncio.Future[Behind]", error: FlashqError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)  # type: ignore[arg-type]
    else:
        future.set_exception(Unavailable(str(error)))


_NONE: Final[dict[int, Position]] = {}
