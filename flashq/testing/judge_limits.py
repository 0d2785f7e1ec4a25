"""Limits: how many jobs of a queue, a group or a limit key were in workers' hands at a time.

A job is in a worker's hands from the answer to the pull until its ack or fail is sent, at most as long as its lease may
run: that is never more than what the server counts.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from flashq.testing.facts import Delivery, Facts, Job
from flashq.testing.history import Limit
from flashq.testing.judge_leases import earliest_end_ms
from flashq.testing.violations import Kind, Rules, Violation


class Span(NamedTuple):
    """One job in one worker's hands, in microseconds."""

    begin_us: int
    end_us: int
    id: int


def limits(facts: Facts, rules: Rules) -> Iterator[Violation]:
    """None was ever exceeded since it was set."""
    for limit in facts.limits:
        lines: dict[str, list[Span]] = defaultdict(list)
        for job in facts.jobs.values():
            for number, delivery in enumerate(job.deliveries):
                if delivery.pull.queue == limit.queue and delivery.at_us >= limit.at_us:
                    end_us = _end_us(job, number, facts, rules)
                    lines[_line(facts, limit, delivery)].append(Span(delivery.at_us, end_us, job.id))
        for line, spans in lines.items():
            if line or not limit.each:  # a job without a group is in none
                yield from _exceeded(limit, line, spans)


def _line(facts: Facts, limit: Limit, delivery: Delivery) -> str:
    attempts = facts.attempts.get(delivery.given.key)
    if not limit.each or not attempts:
        return ""
    push = attempts[0].push
    return push.group if limit.each == "group" else push.limit_key


def _end_us(job: Job, number: int, facts: Facts, rules: Rules) -> int:
    delivery = job.deliveries[number]
    ends = [(earliest_end_ms(job, delivery, facts, rules) - rules.tolerance_ms) * 1_000]
    ends += [word.invoked_us for word in (*job.acks, *job.fails) if word.lease == delivery.given.lease]
    ends += [later.given.started_ms * 1_000 for later in job.deliveries[number + 1 :][:1]]
    return min(ends)


def _exceeded(limit: Limit, line: str, spans: list[Span]) -> Iterator[Violation]:
    """One violation for each job that was one too many."""
    moments = [(span.begin_us, 1, span.id) for span in spans if span.begin_us < span.end_us]
    moments += [(span.end_us, 0, span.id) for span in spans if span.begin_us < span.end_us]
    held: set[int] = set()
    for _, begins, job_id in sorted(moments):
        if not begins:
            held.discard(job_id)
            continue
        held.add(job_id)
        if len(held) > limit.most:
            what = f"{limit.each} {line} of {limit.queue}" if limit.each else limit.queue
            yield Violation(Kind.LIMIT, f"{what} has {len(held)} active jobs of {limit.most}: {sorted(held)}")
