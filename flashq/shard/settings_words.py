"""What doors ask shards about settings that are chosen at run time, and about what is kept of completed jobs.

The words: `settings` (what is chosen), `choose` (change some of it, or make it as configured again), `clean_up`,
`reset_totals`. Who asks has checked the values.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from flashq.engine import chosen
from flashq.engine.housekeeping import CleanUp
from flashq.engine.settings import Chosen
from flashq.engine.slices import carry_on
from flashq.errors import Unavailable
from flashq.shard import internal
from flashq.shard.spreading import other_slots, when_known

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


def _settings(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    return msgspec.structs.asdict(here.engine.chosen)


def _choose(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    """`value`: what is to change, None for what is to be as configured. Answered when every shard knows."""
    if not here.engine.owns[chosen.HOME]:
        raise Unavailable("Settings are chosen in another shard by now")
    changes = msgspec.convert(value, dict[str, int | None])
    now: Chosen = msgspec.structs.replace(here.engine.chosen, **changes)
    version = chosen.choose(here.engine, now, other_slots(here))
    when_known(here, version, lambda: way.give(msgspec.structs.asdict(now)))
    return internal.NOT_YET


def _clean_up(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    """Answered with the number of jobs that were forgotten."""
    carry_on(here.engine, CleanUp(here.engine, way.give))
    return internal.NOT_YET


def _reset_totals(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    chosen.reset_totals(here.engine)
    return True


internal.WORDS["settings"] = _settings
internal.WORDS["choose"] = _choose
internal.WORDS["clean_up"] = _clean_up
internal.WORDS["reset_totals"] = _reset_totals
