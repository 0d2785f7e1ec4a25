"""What webhooks are to be told: decided with what happened, kept until it was delivered or given up.

Rules kept here
- A delivery is decided in the record of the change that causes it. From then on it survives any crash, of this
  process or of the sender, and ends as delivered or as failed; it may be delivered twice, always under one number.
- For one webhook and job (or queue, where it is about a queue) deliveries go out in order, one at a time: the next
  when the one before has ended.
- Bounded by webhook, in number and in bytes. What there is no room for is dropped and counted, what failed is kept
  for a while and can be sent again.
- Who has which delivery in hand (`out`) is in memory only. The sender says what it holds whenever it is new to this
  shard or an answer was lost; all else is given out again.

An attempt that failed is repeated after a delay that doubles, drawn evenly from the upper half of it ("equal jitter",
M. Brooker, Exponential Backoff and Jitter, 2015), until `webhook_give_up_ms` have passed since it happened.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from flashq.engine import events
from flashq.engine.hook_lines import Delivery, add, drop_failed, leave, may_go, put_aside
from flashq.engine.leases import COUNTER_BITS
from flashq.errors import JobNotFound, LimitExceeded
from flashq.protocol.happenings import Happening

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

DELIVERED: Final = 0
AGAIN: Final = 1
FAILED: Final = 2
BACK: Final = 3
"""How an attempt ended. `BACK`: there was none, the sender gives it back."""
DOUBLINGS_MAX: Final = 20
OVERHEAD_BYTES: Final = 256
"""What a delivery takes beside its payload."""
ERROR_CHARS_MAX: Final = 1_024


# -- something happened


def fire(engine: "Engine") -> None:
    """Decide what is to be delivered of what happened in this tick. To be called before the tick is committed."""
    hooks, limits = engine.hooks, engine.limits
    fired: list[tuple[int, list[int], Happening]] = []
    dropped: dict[int, int] = {}
    for happening in engine.happenings:
        taken: list[int] = []
        no = engine.epoch << COUNTER_BITS | hooks.counter + 1
        for line in (*hooks.everywhere, *hooks.of_queue.get(happening.queue, ())):
            if line.kinds is not None and happening.kind not in line.kinds:
                continue
            hook, size = line.hook.id, size_of(happening)
            if len(line.waiting) < limits.webhook_waiting_max and line.bytes + size <= limits.webhook_waiting_bytes_max:
                add(engine, hook, Delivery(no, hook, happening, size))
                taken.append(hook)
            else:
                dropped[hook] = dropped.get(hook, 0) + 1
                line.dropped += 1
        if taken:
            hooks.counter += 1
            fired.append((no, taken, happening))
    if fired or dropped:
        engine.record(events.HooksFired(fired, list(dropped.items())), promise=False)


def size_of(happening: Happening) -> int:
    """About how many bytes it takes."""
    return OVERHEAD_BYTES + len(happening.data or b"") + len(happening.error or "")


def fired(engine: "Engine", event: events.HooksFired) -> None:
    """Replay."""
    for no, hooks, happening in event.fired:
        for hook in hooks:
            if hook in engine.hooks.lines:
                add(engine, hook, Delivery(no, hook, happening, size_of(happening)))
    for hook, n in event.dropped:
        if (line := engine.hooks.lines.get(hook)) is not None:
            line.dropped += n


# -- the sender


def take(engine: "Engine", most: int, each: int, bytes_max: int, skip: Iterable[int]) -> Iterator[Delivery]:
    """Up to `most` deliveries for the sender, webhooks in turn, at most `each` of one and none of `skip`.

    They stop at `bytes_max`, but there is at least one if there is any.
    """
    skipped = set(skip)
    lines = [line for hook, line in engine.hooks.lines.items() if line.ready and hook not in skipped]
    size = 0
    while lines and most and each:
        each -= 1
        for line in list(lines):
            delivery = next(iter(line.ready.values()))
            size += delivery.bytes
            if not most or (size > bytes_max and size != delivery.bytes):
                return
            del line.ready[delivery.no]
            line.out[delivery.no] = delivery
            most -= 1
            yield delivery
            if not line.ready:
                lines.remove(line)


def has_ready(engine: "Engine") -> bool:
    """Whether something can be given out."""
    return any(line.ready for line in engine.hooks.lines.values())


def hold_only(engine: "Engine", held: Iterable[tuple[int, int]]) -> None:
    """The sender has these in hand, as (webhook, number), and no others."""
    mine = set(held)
    for hook, line in engine.hooks.lines.items():
        for no, delivery in list(line.out.items()):
            if (hook, no) not in mine:
                del line.out[no]
                may_go(engine, line, delivery)
        for no, delivery in list(line.ready.items()):
            if (hook, no) in mine:
                del line.ready[no]
                line.out[no] = delivery


def report(engine: "Engine", results: Iterable[tuple[int, int, int, str]]) -> None:
    """Attempts ended: (webhook, number, DELIVERED, AGAIN or BACK, what was said). Unknown ones do nothing."""
    found: list[tuple[int, int, int, int, str]] = []
    for hook, no, how, text in results:
        line = engine.hooks.lines.get(hook)
        delivery = line.waiting.get(no) if line is not None else None
        if delivery is None or delivery.moment is not None:
            continue
        assert line is not None
        if how == BACK:
            if line.out.pop(no, None) is not None:
                may_go(engine, line, delivery)
            continue
        outcome, at = (DELIVERED, 0) if how == DELIVERED else _next(engine, delivery)
        entry = (hook, no, outcome, at, text[:ERROR_CHARS_MAX])
        _tried(engine, *entry)
        found.append(entry)
    if found:
        forgotten = [key for hook in {entry[0] for entry in found} for key in _forget(engine, hook)]
        engine.record(events.HooksTried(found, forgotten))


def _next(engine: "Engine", delivery: Delivery) -> tuple[int, int]:
    """What becomes of it after a failed attempt, and when."""
    limits = engine.limits
    whole = min(limits.webhook_retry_ms << min(delivery.attempts, DOUBLINGS_MAX), limits.webhook_retry_max_ms)
    at = engine.now_ms + whole - int(engine.random.random() * (whole // 2))
    return (FAILED, 0) if at - delivery.since > limits.webhook_give_up_ms else (AGAIN, max(at, 1))


def _forget(engine: "Engine", hook: int) -> Iterator[tuple[int, int]]:
    """Drop the oldest failed deliveries that there is no room for."""
    line, limits = engine.hooks.lines[hook], engine.limits
    while len(line.failed) > limits.webhook_failed_max or line.failed_bytes > limits.webhook_waiting_bytes_max:
        no = next(iter(line.failed))
        drop_failed(line, no)
        yield hook, no


def tried(engine: "Engine", event: events.HooksTried) -> None:
    """Replay."""
    for entry in event.tried:
        if entry[0] in engine.hooks.lines:
            _tried(engine, *entry)
    for hook, no in event.forgotten:
        if hook in engine.hooks.lines:
            drop_failed(engine.hooks.lines[hook], no)


def _tried(engine: "Engine", hook: int, no: int, outcome: int, at: int, text: str) -> None:
    line = engine.hooks.lines[hook]
    delivery = line.waiting[no]
    line.out.pop(no, None)
    delivery.attempts += 1
    delivery.error = "" if outcome == DELIVERED else text
    if outcome == DELIVERED:
        line.delivered += 1
        leave(engine, line, delivery)
    else:
        put_aside(engine, delivery, at, failed=outcome == FAILED)


# -- once more


def send_again(engine: "Engine", hook: int, no: int | None) -> int:
    """Failed deliveries of a webhook wait again, one or all; how many. Raises JobNotFound, LimitExceeded."""
    line, limits = engine.hooks.lines[hook], engine.limits
    if no is not None and no not in line.failed:
        raise JobNotFound("Delivery not found among the failed ones")
    numbers = list(line.failed) if no is None else [no]
    size = sum(line.failed[one].bytes for one in numbers)
    if len(line.waiting) + len(numbers) > limits.webhook_waiting_max:
        raise LimitExceeded(f"Too many deliveries wait ({len(line.waiting)}, max {limits.webhook_waiting_max})")
    if line.bytes + size > limits.webhook_waiting_bytes_max:
        raise LimitExceeded(f"Deliveries that wait are too large (max {limits.webhook_waiting_bytes_max} bytes)")
    if numbers:
        event = events.HooksAgain(hook, numbers)
        again(engine, event)
        engine.record(event)
    return len(numbers)


def again(engine: "Engine", event: events.HooksAgain) -> None:
    """They wait, behind what else there is of their jobs, with a day before them."""
    line = engine.hooks.lines.get(event.hook)
    if line is None:
        return
    for no in event.numbers:
        delivery = line.failed[no]
        drop_failed(line, no)
        delivery.failed, delivery.attempts, delivery.since = False, 0, engine.now_ms
        add(engine, event.hook, delivery)
