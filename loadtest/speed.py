"""`python -m loadtest`: rounds on all servers, then the rows that need a cluster of their own, then the table."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest import alone
from loadtest.catalogue import TRIALS
from loadtest.report import markdown
from loadtest.results import Check, Extra, Results, checks, line, new_results
from loadtest.rows import ROWS, Row
from loadtest.runner import Runner
from loadtest.servers import BEANSTALKD, ECHO, SYNCED_ECHO, Server, Servers
from loadtest.trials import Site, book, measure
from loadtest.window import library

MEMORY: Final = "memory"
IDLE: Final = "idle"
SPIKE: Final = "spike"
DEPTH: Final = "depth"
EXTRAS: Final = (DEPTH, MEMORY, IDLE, SPIKE)
NAMES: Final = (*(row.key for row in ROWS), *(trial.key for trial in TRIALS), *EXTRAS)

PSS_MAX: Final = 160_000_000
TRIAL_DURABILITY: Final = "commit"
READY_S_MAX: Final = 2.0
IDLE_SHARE_MAX: Final = 0.01
IDLE_PSS_MAX: Final = 400_000_000
SPIKE_US_MAX: Final = 10_000
Note = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure."""

    only: tuple[str, ...] = ()
    """Names of rows; none for all."""
    rounds: int = 5
    durabilities: tuple[str, ...] = ("memory", "commit", "fsync")
    reference: Path | None = None
    """A server script to measure beside: it takes --port, --shards, --durability, --data and speaks JSON lines."""
    out: Path = Path("load")
    """Where the results go: this name with .json and .md."""
    folder: Path | None = None
    """On the disk that is measured; the servers' data go there."""
    idle_s: float = 30.0
    spike_s: float = 20.0
    small: bool = False
    """Trials at the sizes of a test: whether they run, not how fast."""

    def wants(self, name: str) -> bool:
        return not self.only or name in self.only

    @property
    def durability(self) -> str:
        """The one that trials run in."""
        return TRIAL_DURABILITY if TRIAL_DURABILITY in self.durabilities else self.durabilities[0]

    def rows(self) -> list[Row]:
        deep = DEPTH in self.only
        return [row for row in ROWS if self.wants(row.key) or (deep and row.deep)]


def run(plan: Plan, console: Console) -> bool:
    """Measure, print, write; whether all targets are met."""
    client = "compiled" if library() else "Python (no `cc` found)"
    results = new_results(plan.rounds, client)
    with tempfile.TemporaryDirectory(prefix="load-", dir=plan.folder) as folder:
        if plan.rows():
            _measure_rows(plan, results, Path(folder), console)
        _measure_trials(plan, results, Path(folder), console)
        _measure_alone(plan, results, Path(folder), console)
    _write(plan, results)
    console.print(Markdown(markdown(results)))
    return results.all_met


def _write(plan: Plan, results: Results) -> None:
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    plan.out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    plan.out.with_suffix(".md").write_text(markdown(results))


def _measure_rows(plan: Plan, results: Results, folder: Path, console: Console) -> None:
    rows = plan.rows()
    with Servers(folder) as servers:
        console.print("starting servers")
        runner = Runner(rows, _start(plan, servers, rows), deep=plan.wants(DEPTH))
        with _progress(console, runner.steps() * plan.rounds) as note:
            for _ in range(plan.rounds):
                runner.round(note)
        runner.settle()
    for row in rows:
        summed = line(row, runner.samples[row.key], runner.deep_samples[row.key])
        results.lines.append(summed)
        results.checks.extend(checks(row, summed))


def _start(plan: Plan, servers: Servers, rows: Sequence[Row]) -> list[Server]:
    beside = {name for row in rows for name in row.beside}
    starts = {ECHO: servers.echo, SYNCED_ECHO: servers.synced_echo, BEANSTALKD: servers.beanstalkd}
    found = [start() for name, start in starts.items() if name in beside]
    for durability in plan.durabilities:
        found.append(servers.flashq(durability))
        if plan.reference:
            found.append(servers.reference(plan.reference, durability))
    return found


@contextlib.contextmanager
def _progress(console: Console, steps: int) -> Iterator[Note]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=steps)

        def note(what: str) -> None:
            progress.update(task, description=what, advance=1)

        yield note


def _measure_trials(plan: Plan, results: Results, folder: Path, console: Console) -> None:
    for trial in TRIALS:
        if plan.wants(trial.key):
            with Site(folder / trial.key, plan.durability, small=plan.small) as site:
                book(results, trial, measure(trial, site, plan.rounds, console.print))
            _write(plan, results)


# -- rows without rounds


def _measure_alone(plan: Plan, results: Results, folder: Path, console: Console) -> None:
    if plan.wants(MEMORY):
        for durability in plan.durabilities:
            console.print(f"memory of a million waiting jobs: {durability}")
            _memory(plan, results, folder / f"memory-{durability}", durability)
    if plan.wants(IDLE):
        console.print(f"an idle cluster of {alone.IDLE_SHARDS} shards, {plan.idle_s:g} s")
        _idle(plan, results)
    if plan.wants(SPIKE):
        for durability in plan.durabilities:
            console.print(f"{alone.SPIKE_RATE:,} pushes/s for {plan.spike_s:g} s: {durability}")
            _spike(plan, results, durability)


def _memory(plan: Plan, results: Results, folder: Path, durability: str) -> None:
    for how, words in ((alone.in_batches, "in batches"), (alone.one_by_one, "one by one")):
        with Servers(folder / words) as servers:
            server = servers.flashq(durability)
            grown = alone.memory_growth(server, how)
            title = f"a million waiting jobs of 92 bytes, pushed {words}, {durability}"
            text = f"{grown.pss / 1e6:.0f} MB PSS, {grown.anonymous / 1e6:.0f} MB of it anonymous"
            if plan.reference:
                other = alone.memory_growth(servers.reference(plan.reference, durability), how)
                text += f" (reference: {other.pss / 1e6:.0f} MB)"
            results.extras.append(Extra(MEMORY, title, text))
            bound = f"≤ {PSS_MAX / 1e6:.0f} MB"
            results.checks.append(Check(title, bound, f"{grown.pss / 1e6:.0f} MB", grown.pss <= PSS_MAX))


def _idle(plan: Plan, results: Results) -> None:
    idle = alone.idle(plan.idle_s)
    title = f"idle cluster of {alone.IDLE_SHARDS} shards"
    text = f"ready in {idle.ready_s:.2f} s, {idle.core_share:.2%} of a core, {idle.pss / 1e6:.0f} MB PSS"
    results.extras.append(Extra(IDLE, title, text))
    results.checks += [
        Check(title, f"ready in < {READY_S_MAX:g} s", f"{idle.ready_s:.2f} s", idle.ready_s < READY_S_MAX),
        Check(title, f"< {IDLE_SHARE_MAX:.0%} of a core", f"{idle.core_share:.2%}", idle.core_share < IDLE_SHARE_MAX),
        Check(title, f"≤ {IDLE_PSS_MAX / 1e6:.0f} MB PSS", f"{idle.pss / 1e6:.0f} MB", idle.pss <= IDLE_PSS_MAX),
    ]


def _spike(plan: Plan, results: Results, durability: str) -> None:
    found = alone.checkpoint_spike(durability, plan.spike_s)
    title = f"{alone.SPIKE_RATE:,} pushes/s with checkpoints, {durability}"
    p50, p99, p999, worst = (f"{value / 1e3:.1f}" for value in found)
    results.extras.append(Extra(SPIKE, title, f"p50 {p50}, p99 {p99}, p99.9 {p999}, worst {worst} ms"))
    if durability != "memory":  # without a journal there is no checkpoint: that row shows what the machine does alone
        met = found.p999 <= SPIKE_US_MAX
        results.checks.append(Check(title, f"p99.9 ≤ {SPIKE_US_MAX / 1e3:g} ms", f"{p999} ms", met))
