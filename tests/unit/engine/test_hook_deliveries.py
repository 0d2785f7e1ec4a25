"""Deliveries of webhooks: decided with what happened, in order, bounded, and never lost."""

import pytest

from flashq.engine import hook_deliveries, webhooks
from flashq.engine.hook_deliveries import AGAIN, BACK, DELIVERED
from flashq.engine.hook_lines import Delivery
from flashq.engine.settings import Limits
from flashq.errors import JobNotFound, LimitExceeded
from flashq.testing.engine_kit import EngineKit, hook_facts

LIMITS = Limits(webhook_waiting_max=5, webhook_failed_max=2, webhook_retry_ms=1_000, webhook_give_up_ms=10_000)


def _kit(*kinds: str, queue: str | None = None) -> EngineKit:
    kit = EngineKit(limits=LIMITS)
    kit.start()
    kit.do(lambda engine: webhooks.make(engine, "https://example.com/", kinds or ["*"], queue, "", ()))
    return kit


def _take(kit: EngineKit, most: int = 10) -> list[Delivery]:
    return list(hook_deliveries.take(kit.begin(), most, most, 1 << 20, ()))


def _report(kit: EngineKit, one: Delivery, how: int) -> None:
    kit.do(lambda engine: hook_deliveries.report(engine, [(one.hook, one.no, how, "HTTP 500")]))


def test_job_is_told_of_step_by_step_and_in_order() -> None:
    kit = _kit()
    job, other = kit.push("mail", {"data": 1})[0], kit.push("mail", {"data": 2})[0]
    got = kit.pull("mail")
    assert got is not None
    kit.ack(job, got.token)
    first = _take(kit)
    assert [(one.happening.kind, one.happening.job_id) for one in first] == [("pushed", job), ("pushed", other)]
    assert _take(kit) == [], "what follows waits for what came before"
    _report(kit, first[0], DELIVERED)
    (second,) = _take(kit)
    assert (second.happening.kind, second.happening.job_id) == ("active", job)
    _report(kit, second, DELIVERED)
    assert [one.happening.kind for one in _take(kit)] == ["completed"]


def test_failed_attempt_is_repeated_later_and_what_follows_waits() -> None:
    kit = _kit("pushed", "completed")
    job = kit.push("mail", {"data": 1})[0]
    got = kit.pull("mail")
    assert got is not None
    kit.ack(job, got.token)
    (one,) = _take(kit)
    _report(kit, one, AGAIN)
    assert 500 <= one.next_at - kit.now_ms <= 1_000
    kit.advance(400)
    assert _take(kit) == []
    kit.advance(601)
    assert _take(kit) == [one]
    assert one.attempts == 1


def test_given_back_delivery_counts_no_attempt() -> None:
    kit = _kit()
    kit.push("mail", {"data": 1})
    (one,) = _take(kit)
    _report(kit, one, BACK)
    assert _take(kit) == [one]
    assert one.attempts == 0


def test_delivery_is_given_up_kept_and_can_be_sent_again() -> None:
    kit = _kit("pushed")
    kit.push("mail", {"data": 1})
    while (taken := _take(kit)) or kit.engine.hooks.lines[1].waiting:
        for one in taken:
            _report(kit, one, AGAIN)
        kit.advance(1_000)
    line = kit.engine.hooks.lines[1]
    (no,) = line.failed
    assert line.failed[no].attempts > 3
    assert (line.bytes, line.chains) == (0, {})
    with pytest.raises(JobNotFound):
        kit.do(lambda engine: hook_deliveries.send_again(engine, 1, no + 1))
    assert kit.do(lambda engine: hook_deliveries.send_again(engine, 1, no)) == 1
    (again,) = _take(kit)
    _report(kit, again, AGAIN)
    assert not again.failed, "it has all the time there was at first"
    assert hook_facts(kit.replayed()) == hook_facts(kit.engine)


def test_what_there_is_no_room_for_is_dropped_and_counted() -> None:
    kit = _kit("pushed")
    kit.push("mail", *({"data": n} for n in range(8)))
    line = kit.engine.hooks.lines[1]
    assert (len(line.waiting), line.dropped) == (5, 3)
    assert hook_facts(kit.replayed()) == hook_facts(kit.engine)


def test_failed_ones_past_the_bound_are_forgotten() -> None:
    kit = _kit("pushed")
    for n in range(4):
        kit.push("mail", {"data": n})
        kit.advance(11_000)
    taken = _take(kit)
    for one in taken:
        _report(kit, one, AGAIN)
    line = kit.engine.hooks.lines[1]
    assert list(line.failed) == [one.no for one in taken[2:]]
    assert line.failed_bytes == sum(one.bytes for one in taken[2:])
    assert hook_facts(kit.replayed()) == hook_facts(kit.engine)


def test_sender_that_forgot_gets_everything_again_but_what_it_holds() -> None:
    kit = _kit("pushed")
    kit.push("mail", {"data": 1}, {"data": 2}, {"data": 3})
    taken = _take(kit)
    hook_deliveries.hold_only(kit.begin(), [(1, taken[1].no)])
    assert _take(kit) == [taken[0], taken[2]]


def test_restarted_shard_gives_out_what_was_not_delivered() -> None:
    kit = _kit("pushed")
    kit.push("mail", {"data": 1}, {"data": 2})
    first, second = _take(kit)
    _report(kit, first, DELIVERED)
    restarted = kit.replayed()
    assert [one.no for one in hook_deliveries.take(restarted, 10, 10, 1 << 20, ())] == [second.no]


def test_queues_without_webhooks_are_not_listened_to() -> None:
    """The cost of a webhook is its own queue's."""
    kit = _kit("*", queue="mail")
    kit.push("mail", {"data": 1})
    kit.push("film", {"data": 1})
    assert kit.engine.queue("mail").heard
    assert not kit.engine.queue("film").heard
    assert len(kit.engine.hooks.lines[1].waiting) == 1


def test_removed_webhook_takes_its_deliveries_along() -> None:
    kit = _kit("pushed")
    kit.push("mail", {"data": 1})
    (one,) = _take(kit)
    _report(kit, one, AGAIN)
    kit.do(lambda engine: webhooks.remove(engine, 1, ()))
    kit.advance(5_000)
    assert not kit.engine.heard
    assert _take(kit) == []
    made = kit.do(lambda engine: webhooks.make(engine, "https://example.com/", ["*"], None, "", ()))
    assert made > 2, "ids are not used again"
    assert hook_facts(kit.replayed()) == hook_facts(kit.engine)


def test_webhooks_are_bounded() -> None:
    kit = EngineKit(limits=Limits(webhooks_max=1))
    kit.start()
    kit.do(lambda engine: webhooks.make(engine, "https://example.com/", ["*"], None, "", ()))
    with pytest.raises(LimitExceeded, match="max 1"):
        kit.do(lambda engine: webhooks.make(engine, "https://example.com/", ["*"], None, "", ()))
