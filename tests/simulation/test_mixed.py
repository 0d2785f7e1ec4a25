"""All families of commands on shards that die: I1 to I10 of the fault matrix, 1,000 seeds (mixed_world.py)."""

import pytest

from tests.simulation.mixed_world import MixedLife

SEEDS = 1_000
PARTS = 20
STEPS = 100


def live(seed: int) -> MixedLife:
    """One seed from its first request to the last job's end."""
    life = MixedLife(seed, deaths=seed % 4 != 0)
    try:
        life.set_up()
        for k in range(STEPS):
            life.step()
            if k % 33 == 32:
                life.check()
        life.work_off()
        life.check_end()
    except Exception as fault:
        fault.add_note(f"seed {seed}")
        raise
    return life


@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_whatever_dies(part: int) -> None:
    """Prints the seed of a life that fails."""
    size = SEEDS // PARTS
    deaths = power_cuts = done = 0
    for seed in range(part * size, (part + 1) * size):
        life = live(seed)
        deaths += life.world.crashes
        power_cuts += life.power_cuts
        done += len(life.ledger.done)
    assert deaths > size, "shards died"
    assert power_cuts > size // 4, "the power went"
    assert done > 20 * size, "there was work"
