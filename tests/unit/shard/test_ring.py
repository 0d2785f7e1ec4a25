"""What a shard still knows of its past, and whether it knows all of it."""

from flashq.protocol.happenings import Happening
from flashq.shard.ring import BYTES_MAX, EVENTS_MAX, Ring


def happening(queue: str = "q", job_id: int = 1, data: bytes | None = None) -> Happening:
    return Happening("pushed", queue, job_id, 0, data, 0, None, None, None)


def heard(*queues: str) -> Ring:
    ring = Ring(7)
    ring.hear(queues)
    return ring


def test_what_is_behind_a_number_is_known_by_queue_and_by_job() -> None:
    ring = heard("*")
    start = ring.number
    numbers = ring.add([happening("a", 1), happening("b", 2), happening("a", 3)])
    assert numbers == [start + 1, start + 2, start + 3]
    assert ring.since(7, start, "*").numbers == numbers
    assert ring.since(7, start, "a").numbers == [numbers[0], numbers[2]]
    assert ring.since(7, start, "a", 3).numbers == [numbers[2]]
    page = ring.since(7, numbers[1], "*")
    assert (page.gap, page.more, page.through, page.numbers) == (False, False, numbers[2], numbers[2:])


def test_another_life_is_all_there_is_with_a_gap() -> None:
    ring = heard("q")
    numbers = ring.add([happening()])
    page = ring.since(6, 99, "q")
    assert (page.epoch, page.gap, page.numbers) == (7, True, numbers)


def test_queue_that_nobody_heard_for_a_while_has_a_gap() -> None:
    """Its events of that while were told to nobody and have no number: the numbers alone would not show it."""
    ring = heard("q", "other")
    saw = ring.add([happening()])[-1]
    assert not ring.since(7, saw, "q").gap
    ring.hear(["other"])
    ring.hear(["q", "other"])
    assert ring.since(7, saw, "q").gap
    assert not ring.since(7, saw, "other").gap
    assert not ring.since(7, ring.number, "q").gap
    ring.hear([])
    ring.hear(["*"])
    assert ring.since(7, saw, "q").gap


def test_queue_is_known_as_far_as_all_were_heard() -> None:
    ring = heard("*")
    saw = ring.number
    ring.hear(["*", "q"])
    assert not ring.since(7, saw, "q").gap
    ring.hear(["q"])
    assert ring.since(7, saw, "other").gap


def test_ring_is_bounded_by_number_and_by_bytes() -> None:
    ring = heard("*")
    saw = ring.number
    ring.add([happening()] * EVENTS_MAX)
    assert not ring.since(7, saw, "*").gap
    ring.add([happening()])
    assert ring.since(7, saw, "*").gap
    saw = ring.number
    ring.add([happening(data=b"x" * (BYTES_MAX // 4))] * 5)
    assert ring.since(7, saw, "*").gap
    assert sum(len(h.data or b"") for h in ring.since(7, saw, "*").happenings) < BYTES_MAX


def test_pages_end_in_time_and_go_on_where_they_ended() -> None:
    ring = heard("*")
    at = ring.number
    wanted = ring.add([happening(data=b"x" * 200_000)] * 10)
    found: list[int] = []
    pages = 0
    while True:
        page = ring.since(7, at, "*")
        found += page.numbers
        pages += 1
        at = page.through
        if not page.more:
            break
    assert found == wanted
    assert pages > 2
