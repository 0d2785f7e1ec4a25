"""The journal without files; what it has in common with others is in tests/contract/test_journal.py."""

from flashq.storage.memory import MemoryJournal


def test_records_are_kept_only_if_asked() -> None:
    """Durability "memory" runs for months: a journal nobody reads must not grow."""
    journal = MemoryJournal()
    for _ in range(100):
        journal.append([b"x" * 1_000], at_ms=0, mono_ms=0, promise=True)
    assert journal.kept == []
    assert journal.durable_seq == journal.synced_seq == 100


def test_records_of_an_earlier_one_are_replayed_and_continued() -> None:
    old = MemoryJournal(keep=True)
    old.append([b"a", b"b"], at_ms=1, mono_ms=2, promise=True)
    new = MemoryJournal(keep=True, epoch=2, records=old.kept, sealed=False)
    assert [record.events for record in new.replay()] == [b"ab"]
    assert not new.recovery.clean
    assert new.append([], at_ms=0, mono_ms=0, promise=False) == 2
