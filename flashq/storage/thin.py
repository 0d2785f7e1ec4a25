"""An engine that holds a shard's state without its payloads, and notes what changes: what the checkpointer folds with.

It is fed by the same replay that a shard starts with, so that no rule is written down twice. A payload that is in the
tables already is only its size here (8 bytes a job); pages note which of their places were looked at, for whatever
is changed was looked at before.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, SupportsIndex

from flashq.engine import debounce
from flashq.engine.engine import Engine
from flashq.engine.pages import Page, Slot
from flashq.engine.queues import Queue
from flashq.engine.settings import Defaults, Limits

Key = tuple[str, int, str]
"""Of an entry: (kind, slot, key)."""


def window_key(window: tuple[Queue, str]) -> Key:
    """A debounce window is an entry."""
    queue, debounce_id = window
    return "debounced", queue.slot.no, f"{queue.name} {debounce_id}"


TIMED: Final[dict[Callable[..., None], Callable[[Any], Key]]] = {debounce.close_window: window_key}
"""Timers whose end is in no event, and the entry that each ends."""


class Stored:
    """A payload that is in the tables: only its size is known. Those of one size are one object."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


_SHARED_MAX: Final = 65_536
_shared: Final[dict[int, Stored]] = {}


def stored(size: int) -> Stored:
    """The stand-in for a payload of `size` bytes."""
    found = _shared.get(size)
    if found is None:
        found = Stored(size)
        if len(_shared) < _SHARED_MAX:
            _shared[size] = found
    return found


class Places(list[Any]):
    """The places of a page. Whatever is looked at or changed is noted."""

    __slots__ = ("note", "touched")

    def __init__(self, items: Iterable[Any], note: Callable[[], None]) -> None:
        super().__init__(items)
        self.note = note
        """Called with the first touch since `touched` was cleared."""
        self.touched: list[int | slice] = []

    def _touch(self, places: int | slice) -> None:
        if not self.touched:
            self.note()
        self.touched.append(places)

    def __getitem__(self, key: Any) -> Any:
        self._touch(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._touch(key)
        super().__setitem__(key, value)

    def append(self, item: Any) -> None:
        self._touch(len(self))
        super().append(item)

    def extend(self, items: Iterable[Any]) -> None:
        start = len(self)
        super().extend(items)
        if len(self) > start:
            self._touch(slice(start, len(self)))

    def __iadd__(self, items: Iterable[Any]) -> "Places":  # type: ignore[misc]
        self.extend(items)
        return self

    def insert(self, index: SupportsIndex, item: Any) -> None:
        raise AssertionError("places of a page do not move")

    def touched_places(self) -> set[int]:
        """Every place that was looked at or changed."""
        found: set[int] = set()
        every = len(self)
        for key in self.touched:
            if isinstance(key, slice):
                places = range(*key.indices(every))
                if len(places) == every:
                    return set(places)
                found.update(places)
            else:
                found.add(key)
        return found

    def replace(self, i: int, item: Any) -> None:
        """Change a place without a note."""
        super().__setitem__(i, item)


class ThinPage(Page):
    """A page that notes its changes."""

    __slots__ = ("changed", "chunks", "in_tables", "rows", "saved")

    def __init__(
        self, changed: set["ThinPage"], slot: Slot, no: int, queue: Queue, codec: int, defaults: Defaults
    ) -> None:  # fmt: skip
        super().__init__(slot, no, queue, codec, defaults)
        self.changed = changed
        self.in_tables = False
        """It has a row."""
        self.saved = 0
        """The payloads of places before this one are in the tables."""
        self.rows: set[int] = set()
        """Places that have a row in `jobs`."""
        self.chunks: list[tuple[int, int]] = []
        """Its rows in `chunks`: (first place, places), in the order in which they were written."""
        self.jobs = Places(self.jobs, self.note)

    def note(self) -> None:
        """Something of it changed."""
        self.changed.add(self)

    def settle(self) -> None:
        """See Page. There are no payloads here to be kept small."""

    def fill(self, start: int, payloads: list[bytes]) -> None:
        """See Page. The places may have been saved while they were empty."""
        super().fill(start, payloads)
        self.saved = min(self.saved, start)
        self.note()

    def drop_if_done(self) -> None:
        """See Page."""
        super().drop_if_done()
        self.note()

    @property
    def id(self) -> int:
        """Its id in the tables."""
        return self.base | self.slot.no


class ThinEngine(Engine):
    """See above."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(epoch=0, limits=limits)
        self.changed: set[ThinPage] = set()
        """Pages that changed since the last fold."""
        self.entries: set[Key] = set()
        """Entries that changed since then."""
        self.keeps_values = False
        """What is put back is not in the tables yet: a slot comes from another shard."""
        self.make_page = self._make_page

    def _make_page(self, slot: Slot, no: int, queue: Queue, codec: int, defaults: Defaults) -> ThinPage:
        return ThinPage(self.changed, slot, no, queue, codec, defaults)

    def at_wall(self, at_ms: int, action: Callable[["Engine", Any], None], argument: Any) -> Any:
        """Nothing falls due here, for what did is in the journal: the timer that is returned does nothing.

        But for what just ends with time, without a word in the journal: `forget_old` sees to that.
        """
        key_of = TIMED.get(action)
        if key_of is None:
            return [at_ms, 0, None, None]
        self.entries.add(key_of(argument))
        return super().at_wall(at_ms, action, argument)

    def forget_old(self) -> None:
        """What ended by the time of the last record."""
        for action, argument in self.timers.due(self.now_ms, 1 << 30):
            self.entries.add(TIMED[action](argument))
            action(self, argument)
