"""Leases, acks and attempts of one job, as its workers saw them."""

from bisect import bisect_left
from collections.abc import Iterator

from flashq.testing.facts import Delivery, Facts, Fate, Job
from flashq.testing.violations import Kind, Rules, Violation


def completion(job: Job) -> Iterator[Violation]:
    """An ack that counted is the end of its job."""
    done = [ack for ack in job.acks if ack.fate is Fate.DONE]
    if not done:
        return
    first = min(done, key=lambda ack: ack.answered_us)
    for delivery in job.deliveries:
        if delivery.given.lease <= first.lease:
            continue
        text = f"job {job.id}: ack of lease {first.lease} counted, lease {delivery.given.lease} was given"
        after = delivery.given.started_ms * 1_000 > first.answered_us
        yield Violation(Kind.REDELIVERED if after else Kind.STALE_ACK, text)


def leases(job: Job, facts: Facts, rules: Rules) -> Iterator[Violation]:
    """No two run at once, and their tokens grow."""
    for earlier, later in zip(job.deliveries, job.deliveries[1:], strict=False):
        one, two = earlier.given, later.given
        if one.lease == two.lease:
            yield Violation(Kind.LEASE_TWICE, f"job {job.id}: lease {one.lease} came to two pulls")
            continue
        gap = two.started_ms + rules.tolerance_ms - one.started_ms
        if gap < 0:
            yield Violation(Kind.LEASE_ORDER, f"job {job.id}: lease {two.lease} began {-gap} ms before {one.lease}")
        short = earliest_end_ms(job, earlier, facts, rules) - two.started_ms - rules.tolerance_ms
        if short > 0:
            yield Violation(Kind.OVERLAP, f"job {job.id}: lease {one.lease} had {short} ms left as {two.lease} began")


def earliest_end_ms(job: Job, delivery: Delivery, facts: Facts, rules: Rules) -> int:
    """The first moment at which a lease may have ended: by itself, by a FAIL, or with its connection."""
    given, pull = delivery.given, delivery.pull
    ends = [given.started_ms + pull.lease_ms]
    ends += [
        fail.invoked_us // 1_000 for fail in job.fails if fail.lease == given.lease and fail.fate is not Fate.REFUSED
    ]
    lost = facts.lost_links.get((pull.by, pull.link)) if pull.released else None
    if lost is not None:
        at = bisect_left(facts.kills, lost.alive_us, key=lambda kill: kill.at_us)
        if at < len(facts.kills) and facts.kills[at].at_us <= lost.at_us:
            ends.append(facts.kills[at].at_us // 1_000 + rules.reconnect_grace_ms)
        else:
            ends.append(lost.alive_us // 1_000)
    return min(ends)


def attempts(job: Job) -> Iterator[Violation]:
    """They never go back, and every acknowledged failure shows in the next delivery."""
    failed = {fail.lease for fail in job.fails if fail.fate is Fate.DONE}
    least = 0
    for delivery in job.deliveries:
        given = delivery.given
        if given.attempts < least:
            yield Violation(Kind.ATTEMPTS, f"job {job.id}: {given.attempts} attempts where {least} were counted")
        least = max(least, given.attempts) + (given.lease in failed)
