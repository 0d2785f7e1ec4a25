"""What a shard tells the checkpointer, and what it does with the answers."""

from flashq.shard.checkpoints import CHECKPOINTER, CLOSED, SEGMENTS_MAX, Recycling, Segment, decode_segments
from flashq.storage.memory import MemoryJournal


class Journal(MemoryJournal):
    """Closed segments as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[Segment] = []

    def sealed(self) -> list[Segment]:
        return list(self.closed)

    def recycle(self, through_seq: int) -> None:
        self.closed = [segment for segment in self.closed if segment[1] > through_seq]


class Peer:
    """A checkpointer that hears."""

    def __init__(self) -> None:
        self.heard: list[list[Segment]] = []

    def notify(self, peer: str, kind: int, payload: bytes) -> None:
        assert (peer, kind) == (CHECKPOINTER, CLOSED)
        self.heard.append(decode_segments(payload))


def test_nothing_is_said_before_there_is_a_checkpointer_or_a_closed_segment() -> None:
    """Words for nobody would wait, and pile up."""
    journal, peer = Journal(), Peer()
    recycling = Recycling(journal, peer.notify, bytes_min=20, size_of=lambda path: 20)
    journal.closed = [(1, 9, "a")]
    recycling.look()
    recycling.came()
    journal.closed = []
    recycling.look()
    assert peer.heard == []


def test_little_is_not_worth_a_fold() -> None:
    """What comes and goes within `checkpoint_bytes` of the journal costs no row."""
    journal, peer = Journal(), Peer()
    recycling = Recycling(journal, peer.notify, bytes_min=50, size_of=lambda path: 20)
    recycling.came()
    for n in (1, 2, 3):
        assert peer.heard == []
        journal.closed.append((n, n, str(n)))
        recycling.look()
    assert peer.heard == [journal.closed]


def test_while_the_disk_is_nearly_full_everything_closed_is_worth_a_fold() -> None:
    """What workers have worked off must give its space back, or pushes are refused for ever."""
    journal, peer = Journal(), Peer()
    recycling = Recycling(journal, peer.notify, bytes_min=50, size_of=lambda path: 20)
    recycling.came()
    journal.closed = [(1, 9, "a")]
    recycling.look()
    assert peer.heard == []
    journal.room = False
    recycling.look()
    assert peer.heard == [[(1, 9, "a")]]


def test_closed_segments_are_told_once_and_again_when_no_answer_comes() -> None:
    journal, peer = Journal(), Peer()
    recycling = Recycling(journal, peer.notify, bytes_min=20, size_of=lambda path: 20)
    recycling.came()
    journal.closed = [(1, 9, "a")]
    for _ in range(4):
        recycling.look()
    assert peer.heard == [[(1, 9, "a")]]
    journal.closed.append((10, 12, "b"))
    recycling.look()
    assert peer.heard[1:] == [[(1, 9, "a"), (10, 12, "b")]]
    for _ in range(5):
        recycling.look()
    assert len(peer.heard) == 3, "it may have been lost"
    recycling.gone()
    recycling.came()
    recycling.look()
    assert len(peer.heard) == 4, "a new one knows nothing"


def test_folded_segments_are_recycled_and_what_follows_is_told_at_once() -> None:
    """A checkpointer that is behind is not kept waiting for the next look."""
    journal, peer = Journal(), Peer()
    recycling = Recycling(journal, peer.notify, bytes_min=20, size_of=lambda path: 20)
    recycling.came()
    journal.closed = [(n, n, str(n)) for n in range(1, SEGMENTS_MAX + 11)]
    recycling.look()
    assert peer.heard[-1] == journal.closed[:SEGMENTS_MAX]
    recycling.folded(SEGMENTS_MAX.to_bytes(8, "little"))
    assert [first for first, _, _ in journal.closed] == list(range(SEGMENTS_MAX + 1, SEGMENTS_MAX + 11))
    assert peer.heard[-1] == journal.closed
