"""The short way for common jobs leaves the same state as the long one, and as a replay, which knows nothing of it."""

from random import Random
from typing import Any

import pytest

from flashq.engine.push import store
from flashq.engine.push_common import store_common
from flashq.engine.settings import Defaults
from flashq.testing.engine_kit import EngineKit, check_counts, decoded, drained, engine_facts

QUEUE = "mail"


def batch(random: Random) -> list[dict[str, Any]]:
    choices: dict[str, Any] = {
        "priority": (0, 3, -1), "delay": (0, 5, 60_000), "unique_key": ("a", "b", "c", "d"), "max_attempts": (0, 1),
        "tags": (["x"],),
    }  # fmt: skip
    n = random.choice((2, 3, 700))
    return [
        {"data": k, **{name: random.choice(values) for name, values in choices.items() if random.random() < 0.4}}
        for k in range(n)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_short_way_is_the_long_way(seed: int) -> None:
    random = Random(seed)
    short, long = EngineKit(), EngineKit()
    for kit in (short, long):
        kit.start()
    for _ in range(8):
        specs, codec = batch(random), random.randrange(2)
        outcomes = []
        for kit, storing in ((short, store_common), (long, lambda *args: store(*args, None))):
            engine = kit._begin()
            frame, entries, payloads = decoded(QUEUE, specs, codec)
            pushed = storing(engine, engine.queue(QUEUE), codec, list(zip(entries, payloads, strict=True)), frame)
            kit.commit()
            outcomes.append((pushed.ids, [(k, str(e)) for k, e in pushed.refused]))
        assert outcomes[0] == outcomes[1]
        later_ms = random.choice((0, 5))
        for kit in (short, long):
            got = kit.pull(QUEUE, 5)
            kit.ack_batch(got.ids if got is not None else [])
            kit.advance(later_ms)
            check_counts(kit.engine)
        assert engine_facts(short.engine) == engine_facts(long.engine) == engine_facts(short.replayed())
    assert drained(short.engine, QUEUE) == drained(long.engine, QUEUE)


def test_job_with_a_default_ttl_still_expires() -> None:
    kit = EngineKit()
    kit._begin().adopt_defaults(Defaults(ttl_ms=50))
    frame, entries, payloads = decoded(QUEUE, [{"data": 1, "priority": 1}, {"data": 2}], 0)
    store_common(kit.engine, kit.engine.queue(QUEUE), 0, list(zip(entries, payloads, strict=True)), frame)
    kit.commit()
    kit.advance(50)
    assert kit.engine.queue(QUEUE).waiting == 0
