"""`python -m loadtest crash`: campaigns until every kind of kill has had its number, and what they found as a table."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from flashq.testing.checker import Kind, Verdict
from flashq.testing.cluster import Cluster
from loadtest.campaign import (
    CHECKPOINTER,
    EVERYTHING,
    HTTP,
    KINDS,
    ROUTER,
    SETTINGS,
    SHARD,
    Campaign,
    Outage,
    Outcome,
)

ROUND: Final = 10
"""Kills of one campaign: each ends with a drain and a verdict, on a cluster of its own."""
TITLES: Final = {
    SHARD: "one shard",
    ROUTER: "the router",
    HTTP: "the HTTP process",
    CHECKPOINTER: "the checkpointer",
    EVERYTHING: "everything",
}
BEGIN: Final = "<!-- crash campaign: written by `python -m loadtest crash --docs` -->"
END: Final = "<!-- end of the crash campaign -->"
LOST: Final = (Kind.LOST, Kind.VANISHED)
DOUBLED: Final = (Kind.DOUBLED, Kind.ID_TWICE, Kind.PHANTOM, Kind.DAMAGED, Kind.HALF)
LEASES: Final = (Kind.OVERLAP, Kind.STALE_ACK, Kind.LEASE_TWICE, Kind.LEASE_ORDER)
COUNTS: Final = (Kind.COUNTS, Kind.ATTEMPTS)
WAITING: Final = (Kind.EARLY, Kind.STUCK)
KEYS: Final = (Kind.KEY_SHARED, Kind.KEY_STUCK, Kind.NAME_MIXED)
SUMS: Final = (Kind.SUMS, Kind.RESULT)
COLUMNS: Final[tuple[tuple[str, tuple[Kind, ...]], ...]] = (
    ("lost", LOST),
    ("doubled or half done", DOUBLED),
    ("delivered again after ack", (Kind.REDELIVERED,)),
    ("lease faults", LEASES),
    ("count faults", COUNTS),
    ("early or stuck", WAITING),
    ("key faults", KEYS),
    ("over a limit", (Kind.LIMIT,)),
    ("cron faults", (Kind.TICKS,)),
    ("wrong sums or results", SUMS),
)
"""What the table says of faults; every kind is in one of them."""


class Tally(msgspec.Struct):
    """All campaigns of one kind of kill."""

    kind: str
    verdict: Verdict = msgspec.field(default_factory=Verdict)
    outages: list[Outage] = []

    def add(self, outcome: Outcome) -> None:
        self.verdict.add(outcome.verdict)
        self.outages += outcome.outages


class Report(msgspec.Struct):
    """A whole run."""

    durability: str
    shards: int
    tallies: list[Tally]

    @property
    def good(self) -> bool:
        return all(tally.verdict.good for tally in self.tallies)


def run(kills: int, durability: str, shards: int, note: Callable[[str], None]) -> Report:
    """`kills` of each kind. Raises AssertionError where a cluster does not come back."""
    report = Report(durability, shards, [Tally(kind) for kind in KINDS])
    for tally in report.tallies:
        for seed, count in enumerate(_rounds(kills)):
            note(f"{TITLES[tally.kind]}: {seed * ROUND} of {kills} kills")
            tally.add(_campaign(tally.kind, count, durability, shards, seed))
    return report


def _rounds(kills: int) -> Iterator[int]:
    for done in range(0, kills, ROUND):
        yield min(ROUND, kills - done)


def _campaign(kind: str, kills: int, durability: str, shards: int, seed: int) -> Outcome:
    with (
        tempfile.TemporaryDirectory(prefix="crash-") as folder,
        Cluster(shards=shards, durability=durability, http=True, settings=SETTINGS) as cluster,
    ):
        return Campaign(cluster, Path(folder), seed).run([kind] * kills)


# -- its words


def markdown(report: Report) -> str:
    """The table, and what is wrong, if anything is."""
    head = [
        "killed", "kills", "pushes acknowledged", "unknown, of which happened", "completions acknowledged",
        "runs of crons", "increases", "waits answered", *(title for title, _ in COLUMNS),
        "first answer, ms: median / worst",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head), *(_row(tally) for tally in report.tallies)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    faults = [example for tally in report.tallies for example in tally.verdict.examples]
    told = "\n\nViolations:\n\n" + "\n".join(f"- {example}" for example in faults) if faults else ""
    return f"{report.shards} shards, durability `{report.durability}`.\n\n{table}\n\n{_footnote(report)}{told}\n"


def _row(tally: Tally) -> list[str]:
    verdict = tally.verdict
    found = [_sum(verdict, kinds) for _, kinds in COLUMNS]
    took = [outage.ms for outage in tally.outages if outage.first]
    return [
        TITLES[tally.kind],
        f"{verdict.kills}",
        f"{verdict.pushes_acknowledged:,}",
        f"{verdict.pushes_unknown:,}, {verdict.unknown_that_happened:,}",
        f"{verdict.completions_acknowledged:,}",
        f"{verdict.cron_runs:,}",
        f"{verdict.increases:,}",
        f"{verdict.waits_answered:,}",
        *map(str, found),
        f"{median(took):.0f} / {max(took):.0f}" if took else "",
    ]


def _sum(verdict: Verdict, kinds: tuple[Kind, ...]) -> int:
    return sum(Counter(verdict.violations)[kind] for kind in kinds)


def _footnote(report: Report) -> str:
    jobs = sum(tally.verdict.kills for tally in report.tallies)
    return (
        f"Over each of the {jobs} kills a worker held a job of the victim, which was given to nobody else, and its ack "
        "under the old lease counted. First answers are those after a process's first death: one that is killed again "
        "within ten seconds is kept down for 50 ms and more, on purpose."
    )


def write(report: Report, out: Path) -> None:
    """As JSON and Markdown."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    out.with_suffix(".md").write_text(markdown(report))


def put_into(document: Path, report: Report) -> None:
    """Replace the campaign's section of a document. Raises ValueError if it has none."""
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} has no section between {BEGIN!r} and {END!r}")
    document.write_text(f"{before}{BEGIN}\n\n{markdown(report)}\n{END}{after}")
