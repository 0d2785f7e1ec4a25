"""What the crash campaign says has to be what it found."""

from pathlib import Path

import pytest

from flashq.testing.checker import Kind, Verdict
from loadtest.campaign import EVERYTHING, Outage, Outcome
from loadtest.clients import key_of, payload
from loadtest.crash import BEGIN, END, Report, Tally, markdown, put_into


def report(violations: dict[Kind, int]) -> Report:
    verdict = Verdict(kills=3, pushes_acknowledged=1_234, violations=violations, examples=[*violations])
    outages = [Outage(EVERYTHING, ms, first) for ms, first in ((400.0, True), (500.0, True), (5_000.0, False))]
    tally = Tally(EVERYTHING)
    tally.add(Outcome(verdict, {EVERYTHING: 3}, outages))
    return Report("fsync", 2, [tally])


def test_table_has_kills_sums_and_first_outages() -> None:
    good = report({})
    assert good.good
    assert "| everything | 3 | 1,234 | 0, 0 |" + " 0 |" * 14 + " 450 / 500 |" in markdown(good)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (Kind.LOST, 0),
        (Kind.DOUBLED, 1),
        (Kind.REDELIVERED, 2),
        (Kind.OVERLAP, 3),
        (Kind.COUNTS, 4),
        (Kind.STUCK, 5),
        (Kind.KEY_SHARED, 6),
        (Kind.LIMIT, 7),
        (Kind.TICKS, 8),
        (Kind.SUMS, 9),
    ],
)
def test_violation_is_in_its_column_and_told(kind: Kind, column: int) -> None:
    bad = report({kind: 7})
    assert not bad.good
    [row] = [line for line in markdown(bad).splitlines() if line.startswith("| everything")]
    assert row.split(" | ")[8 + column] == "7"
    assert f"- {kind}" in markdown(bad)


def test_every_kind_of_violation_has_a_column() -> None:
    for kind in Kind:
        [row] = [line for line in markdown(report({kind: 7})).splitlines() if line.startswith("| everything")]
        assert row.count(" 7 ") == 1, kind


def test_section_of_a_document_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{BEGIN}\nstale words\n{END}\nafter\n")
    put_into(document, report({}))
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale words" not in text
    assert "1,234" in text


def test_document_without_a_section_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("before\n")
    with pytest.raises(ValueError, match="no section"):
        put_into(document, report({}))
    assert document.read_text() == "before\n"


def test_payload_tells_its_key_only_while_it_is_whole() -> None:
    data = payload("producer-1-7-0")
    assert key_of(data) == "producer-1-7-0"
    for damaged in (
        data | {"key": "producer-1-8-0"},
        data | {"sum": 0},
        data | {"pad": "x"},
        data | {"more": 1},
        None,
        5,
    ):
        assert key_of(damaged) == ""
