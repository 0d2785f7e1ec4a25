"""Settings that were chosen while the cluster ran: what jobs get that ask for nothing, and what is kept of ended ones.

Rules kept here
- They are chosen in slot 0, which tells every shard through the outbox, as webhooks are, and count their versions with
  those: who knows version n knows all that was chosen or hooked up to it.
- What is not chosen is as configured. Nothing of it is judged in replay, which has the defaults of each moment as
  events of their own.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.engine import events
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.settings import Chosen, Defaults

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

HOME: Final = 0
"""The slot that decides."""


def choose(engine: "Engine", chosen: Chosen, shards: Iterable[int]) -> int:
    """All that is chosen from now on; the version that this makes. `shards`: a slot of each other shard."""
    event = events.SettingsChosen(engine.hooks.version + 1, chosen)
    set_(engine, event)
    engine.record(event)
    for slot in shards:
        post(engine, HOME, slot, "settings", [event.version, msgspec.to_builtins(chosen)])
    return event.version


def start(engine: "Engine", configured: Defaults) -> None:
    """The shard begins to serve: with what is chosen, and for the rest as configured."""
    engine.configured = configured, engine.limits
    _apply(engine)


def reset_totals(engine: "Engine") -> None:
    """What was pushed, completed, retried and failed counts from now on."""
    event = events.TotalsReset()
    totals_reset(engine, event)
    engine.record(event)


# -- what was decided, live or in replay


def set_(engine: "Engine", event: events.SettingsChosen) -> None:
    """It counts."""
    engine.hooks.version = max(engine.hooks.version, event.version)
    engine.chosen = event.chosen
    if not engine.replaying:
        _apply(engine)


def totals_reset(engine: "Engine", event: events.TotalsReset) -> None:
    """They are 0; what there is now, by state, is not touched."""
    totals = engine.totals
    totals.pushed = totals.completed = totals.failed = totals.retried = 0
    totals.latency_ms = totals.latency_count = 0


def _apply(engine: "Engine") -> None:
    chosen, (defaults, limits) = engine.chosen, engine.configured
    engine.adopt_defaults(
        Defaults(
            _or(chosen.max_attempts, defaults.max_attempts), _or(chosen.backoff_ms, defaults.backoff_ms),
            _or(chosen.ttl_ms, defaults.ttl_ms), _or(chosen.timeout_ms, defaults.timeout_ms),
        )
    )  # fmt: skip
    # A result lives as long as its job is remembered, so the smaller bound counts for both.
    counts = [count for count in (chosen.completed_max, chosen.results_max) if count is not None]
    engine.limits = msgspec.structs.replace(
        limits, keep_completed_count=min(counts, default=limits.keep_completed_count),
        cleanup_interval_ms=_or(chosen.cleanup_interval_ms, limits.cleanup_interval_ms),
    )  # fmt: skip


def _or(chosen: int | None, configured: int) -> int:
    return configured if chosen is None else chosen


def _on_settings(engine: "Engine", source: int, target: int, body: Any) -> None:
    version, chosen = body
    event = events.SettingsChosen(version, msgspec.convert(chosen, Chosen))
    set_(engine, event)
    engine.record(event)


HANDLERS["settings"] = _on_settings
