"""The mixed simulation over many seeds; its figures go into docs/reliability.md. SEEDS=n asks for fewer or more."""

import os
import time
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.simulation.test_mixed import STEPS, live

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- BEGIN simulation campaign -->", "<!-- END simulation campaign -->"
SEEDS = int(os.environ.get("SEEDS", "100000"))
BLOCK = 250


class Sum(NamedTuple):
    """What some seeds came to."""

    seeds: int = 0
    requests: int = 0
    deaths: int = 0
    power_cuts: int = 0
    done: int = 0
    cron_runs: int = 0
    flows: int = 0
    simulated_s: int = 0

    def plus(self, other: "Sum") -> "Sum":
        return Sum(*(a + b for a, b in zip(self, other, strict=True)))


def block(first: int) -> Sum | str:
    """A block of seeds; text: the seed that failed, and how."""
    total = Sum()
    for seed in range(first, first + BLOCK):
        try:
            life = live(seed)
        except Exception as fault:
            return f"seed {seed}: {type(fault).__name__}: {fault}"
        ledger = life.ledger
        total = total.plus(
            Sum(
                1, life.number, life.world.crashes, life.power_cuts, len(ledger.done), sum(ledger.cron_runs.values()),
                len(ledger.flow_seen), (life.world.now_ms - 1_000_000) // 1_000,
            )
        )  # fmt: skip
    return total


def blocks() -> Iterator[Sum | str]:
    with Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(block, range(0, SEEDS, BLOCK))


def table(total: Sum, failed: int, wall_s: float) -> str:
    rows = {
        f"seeds, of at least {STEPS} steps each": total.seeds, "requests": total.requests,
        "deaths of a shard": total.deaths, "of them with the power": total.power_cuts,
        "jobs completed": total.done, "flows worked off": total.flows, "runs of crons": total.cron_runs,
        "hours simulated": total.simulated_s // 3_600, "hours it took": round(wall_s / 3_600, 1),
        "**violations**": f"**{failed}**",
    }  # fmt: skip
    lines = [
        f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value} |" for name, value in rows.items()
    ]
    return "\n".join(["| | |", "|---|---:|", *lines])


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_promises_hold_over_many_seeds() -> None:
    """What fails is named by its seed: tests/simulation/test_mixed.py lives it again."""
    begin = time.monotonic()
    total, failures = Sum(), []
    for come in blocks():
        if isinstance(come, str):
            failures.append(come)
            print(come, flush=True)
        else:
            total = total.plus(come)
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(total, len(failures), time.monotonic() - begin)}\n{END}{after}")
    assert not failures
