"""The table, as Markdown."""

from collections.abc import Iterator, Sequence

from loadtest.results import Check, Figure, Line, Results, TrialLine

CLIENT_BOUND = 0.9
"""Above this share of the time the client's core was full: the figure is a floor of the server's."""


def markdown(results: Results) -> str:
    """Figures, targets and percentiles of a run."""
    parts = [_preface(results)]
    if results.lines:
        parts += ["## Figures\n", _figures(results.lines), "## Latencies\n", _latencies(results.lines)]
    if results.trials:
        parts += ["## Commands and doors\n", _trials(results.trials)]
    if results.extras:
        parts += ["## Memory, idle, spikes\n", _rows(["", "measured"], ([e.title, e.measured] for e in results.extras))]
    parts += ["## Targets\n", _checks(results.checks)]
    return "\n".join(parts)


def _preface(results: Results) -> str:
    return (
        f"Medians of {results.rounds} alternating rounds in one run; {results.cores} cores, Linux {results.kernel}, "
        f"client: {results.client}. Every job was checked to arrive exactly once. Figures marked \\* are bounded by "
        f"the client, whose core was busy for {CLIENT_BOUND:.0%} of the time or more.\n"
    )


def _servers(lines: Sequence[Line]) -> list[str]:
    """All names, in the order in which they first occur."""
    return list(dict.fromkeys(name for line in lines for name in line.figures))


def _figures(lines: Sequence[Line]) -> str:
    servers = _servers(lines)
    table: list[list[str]] = []
    for line in lines:
        table.append([line.title, line.measure, *(_show(line.figures.get(name)) for name in servers)])
        if line.deep:
            deep = (_show(line.deep.get(name)) for name in servers)
            table.append([f"{line.title}, a million waiting", line.measure, *deep])
    return _rows(["workload", "", *servers], table)


def _show(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:,.1f}" + (r" \*" if figure.client_share >= CLIENT_BOUND else "")


def _latencies(lines: Sequence[Line]) -> str:
    return _rows(
        ["workload", "server", "p50, us", "p99, us", "p99.9, us"],
        (
            [line.title, name, *(f"{value:,.0f}" for value in figure.latency_us[:3])]
            for line in lines
            for name, figure in line.figures.items()
        ),
    )


def _trials(trials: Sequence[TrialLine]) -> str:
    return _rows(
        ["workload", "figure", "measured"],
        (
            [trial.title, label, f"{value:,.1f}".removesuffix(".0")]
            for trial in trials
            for label, value in trial.figures.items()
        ),
    )


def _checks(checks: Sequence[Check]) -> str:
    return _rows(
        ["workload", "target", "measured", "met"],
        ([check.row, check.target, check.measured, "yes" if check.met else "**no**"] for check in checks),
    )


def _rows(head: Sequence[str], rows: Iterator[list[str]] | Sequence[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
