"""Unique keys and custom ids: one live job each, and none is kept from its key by a job that is gone.

A job lived for sure from the first moment at which a client knew of it until the first ack that may have counted was
sent; it may have lived from the first try to push it until an ack that counted was answered. Sure lives of one key
must not overlap, and a refusal needs a possible one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flashq.testing.facts import Attempt, Facts, Fate, Job
from flashq.testing.violations import Kind, Violation

Owners = Mapping[str, set[int]]
NEVER: int = 1 << 62
DUPLICATE = "duplicate"


class Life(NamedTuple):
    """When a job lived, in microseconds."""

    id: int
    begin_us: int
    end_us: int


def unique_keys(facts: Facts, owners: Owners) -> Iterator[Violation]:
    """At most one live job, and a refusal as a duplicate only while there may have been one."""
    keys: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, attempts in facts.attempts.items():
        push = attempts[0].push
        if push.unique:
            keys[push.queue, push.unique].append(key)
    for (queue, unique), its in keys.items():
        ids = {job_id for key in its for job_id in owners.get(key, ())}
        jobs = {job_id: facts.jobs[job_id] for job_id in ids}
        told = {attempt.id: attempt for key in its for attempt in facts.attempts[key]}
        yield from _shared(f"unique key {unique} of {queue}", [_sure(job, [told.get(i)]) for i, job in jobs.items()])
        possible = [_possible(facts.jobs[i], facts.attempts[key]) for key in its for i in owners.get(key, ())]
        for key in its:
            for begin, attempt in _answers(facts.attempts[key]):
                if attempt.code == DUPLICATE and not _lived(possible, begin, attempt.answered_us):
                    text = f"{key} was refused, though no job of unique key {unique} of {queue} was there"
                    yield Violation(Kind.KEY_STUCK, text)


def names(facts: Facts, owners: Owners) -> Iterator[Violation]:
    """At most one live job, and whoever pushes the name is told of one that may live."""
    keys: dict[str, list[str]] = defaultdict(list)
    for key, attempts in facts.attempts.items():
        if attempts[0].push.name:
            keys[attempts[0].push.name].append(key)
    for name, its in keys.items():
        told: dict[int, list[Attempt | None]] = defaultdict(list)
        for key in its:
            for attempt in facts.attempts[key]:
                if attempt.id:
                    told[attempt.id].append(attempt)
        ids = {job_id for key in its for job_id in owners.get(key, ())} | told.keys()
        yield from _shared(f"custom id {name}", [_sure(facts.jobs[i], told[i]) for i in ids])
        for key in its:
            yield from _told(facts, name, facts.attempts[key])


def _told(facts: Facts, name: str, attempts: list[Attempt]) -> Iterator[Violation]:
    """Each answer to pushes of a name named a job of that name which may have lived meanwhile."""
    for begin, attempt in _answers(attempts):
        if not attempt.id:
            continue
        job = facts.jobs[attempt.id]
        makers = facts.attempts.get(job.deliveries[0].given.key) if job.deliveries else None
        if makers is None:
            continue  # lost, or a phantom: said elsewhere
        if makers[0].push.name != name:
            text = f"a push of custom id {name} was told job {job.id}, whose is {makers[0].push.name!r}"
            yield Violation(Kind.NAME_MIXED, text)
        elif not _lived([_possible(job, makers)], begin, attempt.answered_us):
            yield Violation(Kind.KEY_STUCK, f"a push of custom id {name} was told job {job.id}, which was completed")


def _answers(attempts: list[Attempt]) -> Iterator[tuple[int, Attempt]]:
    """Each answer, and since when it may be true: a repetition is told what the first try came to."""
    return ((attempts[0].push.at_us, attempt) for attempt in attempts if attempt.fate is not Fate.UNKNOWN)


def _sure(job: Job, told: list[Attempt | None]) -> Life:
    known = [attempt.answered_us for attempt in told if attempt] + [each.at_us for each in job.deliveries]
    ended = [ack.invoked_us for ack in job.acks if ack.fate is not Fate.REFUSED]
    return Life(job.id, min(known, default=NEVER), min(ended, default=NEVER))


def _possible(job: Job, makers: list[Attempt]) -> Life:
    ended = [ack.answered_us for ack in job.acks if ack.fate is Fate.DONE]
    return Life(job.id, makers[0].push.at_us, min(ended, default=NEVER))


def _lived(lives: list[Life], begin_us: int, end_us: int) -> bool:
    return any(life.begin_us <= end_us and life.end_us >= begin_us for life in lives)


def _shared(what: str, lives: list[Life]) -> Iterator[Violation]:
    last: Life | None = None
    for life in sorted((life for life in lives if life.begin_us < life.end_us), key=lambda life: life.begin_us):
        if last is not None and life.begin_us < last.end_us:
            yield Violation(Kind.KEY_SHARED, f"{what} is both job {last.id} and job {life.id}")
        if last is None or life.end_us > last.end_us:
            last = life
