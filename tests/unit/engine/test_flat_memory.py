"""Memory is for what waits and runs, not for what has been: counts of entries stay flat however long it goes on."""

from flashq.engine.engine import Engine
from flashq.engine.settings import Limits
from flashq.storage.memory import MemoryJournal
from flashq.testing.engine_kit import EngineKit

CYCLES = 200_000


def kit_without_records() -> EngineKit:
    kit = EngineKit(limits=Limits(keep_completed_count=10), journal=MemoryJournal())
    kit.start()
    return kit


def entries(engine: Engine) -> dict[str, int]:
    """How much there is of everything that could grow."""
    lines = (engine.lease_lines, engine.wait_lines)
    queues = list(engine.queues.values())
    lanes = [lane for queue in queues for lane in queue.lanes.values()]
    slots = list(engine.slots.values())
    return {
        "deadlines": sum(len(line) for lines_ in lines for line in lines_._lines.values()),
        "renewed": sum(len(lines_._renewed) for lines_ in lines),
        "timers": len(engine.timers._heap) + len(engine.mono_timers._heap),
        "lanes": sum(len(lane.fifo) + len(lane.front) + len(lane.due) + len(lane.dead) for lane in lanes),
        "later": sum(len(queue.later) + len(queue.older) for queue in queues),
        "waiters": sum(len(queue.waiters) for queue in queues) + len(engine.waits_of),
        "kept": sum(len(queue.kept) for queue in queues),
        "pages": sum(len(slot.pages) for slot in slots),
        "ended": sum(len(slot.bad.runs()) + len(slot.gone.runs()) for slot in slots),
        "tied": len(engine.tied),
    }


def check_flat(engine: Engine) -> None:
    # A lane moves up when 65,536 entries of it are used; above 1024 entries lines and heaps are half dead at most.
    bounds = {"deadlines": 2_100, "renewed": 2_100, "timers": 2_100, "lanes": 140_000, "later": 200, "waiters": 200,
              "kept": 11, "pages": 130, "ended": 2, "tied": 0}  # fmt: skip
    over = {name: n for name, n in entries(engine).items() if n > bounds[name]}
    assert not over


def test_pull_and_ack_under_long_leases_leaves_nothing() -> None:
    """Half-hour leases that end after a millisecond must not wait half an hour for their room."""
    kit = kit_without_records()
    oldest = kit.push("mail", {"data": 0})
    held = kit.pull("mail")
    for k in range(CYCLES):
        kit.push("mail", {"data": 1})
        got = kit.pull("mail")
        assert got is not None
        kit.ack(got.ids[0], got.token)
        if not k % 1000:
            kit.advance(1)
            check_flat(kit.engine)
    check_flat(kit.engine)
    assert held is not None
    kit.ack(oldest[0], held.token)


def test_jobs_dropped_while_an_older_one_stays_leave_nothing() -> None:
    """Push and cancel for ever: entries in the middle of a lane, and timers, go with their jobs."""
    kit = kit_without_records()
    oldest = kit.push("mail", {"data": 0})
    kit.pause("mail")
    for _ in range(CYCLES // 100):
        kit.push("mail", *({"data": 1, "ttl": 1, "priority": k % 2} for k in range(100)))
        kit.advance(1)
        assert kit.engine.totals.waiting == 1
        check_flat(kit.engine)
    kit.resume("mail")
    got = kit.pull("mail", 10)
    assert got is not None
    assert got.ids == oldest


def test_delayed_jobs_finished_before_their_moment_leave_nothing() -> None:
    """A retry that a late ack makes needless leaves the heap of delayed jobs, and its ttl the timers."""
    kit = kit_without_records()
    kit.push("mail", {"data": 0, "delay": 86_400_000})
    for k in range(CYCLES // 4):
        (job_id,) = kit.push("mail", {"data": 1, "ttl": 86_400_000, "backoff": 3_600_000, "remove_on_complete": True})
        got = kit.pull("mail")
        assert got is not None
        kit.fail(job_id, got.token)
        kit.ack(job_id, got.token)
        if not k % 500:
            check_flat(kit.engine)
    check_flat(kit.engine)


def test_renewed_leases_leave_one_entry_each() -> None:
    """A heartbeat moves a deadline; it does not add one."""
    kit = kit_without_records()
    kit.push("mail", *({"data": k} for k in range(100)))
    got = kit.pull("mail", 100, lease_ms=1_000)
    assert got is not None
    for _ in range(CYCLES // 1_000):
        for job_id in got.ids:
            kit.heartbeat(job_id, got.token)
        kit.advance(600)
        found = entries(kit.engine)
        assert found["deadlines"] + found["renewed"] <= 101
    assert kit.engine.totals.active == 100


def test_waits_that_time_out_leave_nothing() -> None:
    """Workers that poll an idle queue for years: each pull waits its second and is forgotten."""
    kit = kit_without_records()
    for k in range(CYCLES // 10):
        kit.wait("mail", 1, 1_000, gid=k + 1, tied=False)
        kit.advance(600)
        assert len(kit.engine.waits_of) <= 2
        check_flat(kit.engine)
        kit.fetch_woken()
