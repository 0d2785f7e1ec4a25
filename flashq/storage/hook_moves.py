"""Webhooks when slots move: every shard knows all of them, so that they are in no slot that could be copied. So too
the settings that were chosen at run time, which count their versions with them.

A new shard gets what that of its origins knows which knows the latest change. What was delivered so far is a count over
all shards: the new shard that has slot 0 gets the sum of its origins' counts, the others begin with none.
"""

from typing import Any, Final

from sqlalchemy import Connection, Table, select

from flashq.storage.rows import decode, encode

HOME: Final = 0
"""The slot of the shard that gets the counts."""
EVERYWHERE: Final = ("hook", "hooks_version", "chosen")
"""Kinds of entries that every shard has."""


class MovedHooks:
    """Those of one new shard, gathered from its origins."""

    def __init__(self, entries: Table) -> None:
        """`entries`: the table of the origin that is attached."""
        self._entries = entries
        self._version = 0
        self._known: dict[str, list[Any]] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        """Key -> (delivered, dropped), of all origins."""
        self._leads = False
        self._chosen: bytes | None = None
        """The settings, as that origin has them which knows the latest version."""

    def take(self, connection: Connection, *, leads: bool) -> None:
        """What one origin knows. `leads`: slot 0 is among those that are taken from it."""
        c = self._entries.c
        rows = connection.execute(select(c.kind, c.key, c.value).where(c.kind.in_(EVERYWHERE))).all()
        found = {row.key: decode(row.value)[0] for row in rows if row.kind == "hook"}
        version = next((decode(row.value) for row in rows if row.kind == "hooks_version"), 0)
        if version > self._version:
            self._version, self._known = version, found
            self._chosen = next((row.value for row in rows if row.kind == "chosen"), None)
        for row in rows:
            if row.kind == "hook":
                _, delivered, dropped = decode(row.value)
                before = self._counts.get(row.key, (0, 0))
                self._counts[row.key] = before[0] + delivered, before[1] + dropped
        self._leads = self._leads or leads

    def rows(self) -> list[dict[str, Any]]:
        """The entries of the new shard; none where there never was a webhook or a choice."""
        if not self._version:
            return []
        found = [{"kind": "hooks_version", "slot": 0, "key": "", "value": encode(self._version)}]
        if self._chosen is not None:
            found.append({"kind": "chosen", "slot": 0, "key": "", "value": self._chosen})
        for key, hook in self._known.items():
            counts = self._counts[key] if self._leads else (0, 0)
            found.append({"kind": "hook", "slot": 0, "key": key, "value": encode([hook, *counts])})
        return found
