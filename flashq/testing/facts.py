"""Facts: a history sorted by job, so that a checker can look at one job's life at a time."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from flashq.testing.history import (
    Ack,
    AnyEvent,
    Await,
    Call,
    Counted,
    Done,
    Fail,
    Given,
    Heard,
    Increase,
    Kill,
    Limit,
    LinkLost,
    Outcome,
    Pull,
    Push,
    Refused,
    Schedule,
    Seen,
    Serving,
    Total,
)

UNCERTAIN: Final = frozenset({"timeout", "unavailable"})
"""Codes after which the request may have happened all the same: a shard that died with it unanswered says so."""


class Fate(Enum):
    """How an operation ended for its client."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Attempt:
    """One time that one payload was pushed."""

    push: Push
    fate: Fate
    id: int = 0
    """The job's id, if the client was told."""
    answered_us: int = 0
    code: str = ""
    """Why it was refused."""


@dataclass(slots=True)
class Delivery:
    """One job in one worker's hands, under one lease."""

    given: Given
    pull: Pull
    at_us: int
    """When the worker had it."""


@dataclass(slots=True)
class Word:
    """One worker's ack or fail of one job."""

    lease: int
    invoked_us: int
    fate: Fate
    answered_us: int = 0


@dataclass(slots=True)
class Job:
    """What is known of one id."""

    id: int
    deliveries: list[Delivery] = field(default_factory=list)
    acks: list[Word] = field(default_factory=list)
    fails: list[Word] = field(default_factory=list)


@dataclass(slots=True)
class Facts:
    """A whole history, sorted."""

    attempts: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    """By key. Several where one push was repeated under its idempotency key."""
    jobs: dict[int, Job] = field(default_factory=dict)
    lost_links: dict[tuple[str, int], LinkLost] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    servings: dict[int, Serving] = field(default_factory=dict)
    counts: list[Counted] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    schedules: dict[str, list[tuple[Schedule, Fate]]] = field(default_factory=lambda: defaultdict(list))
    """By key; several where one was repeated under its idempotency key."""
    increases: list[tuple[Increase, Fate, int | None]] = field(default_factory=list)
    """With the sum that was answered."""
    totals: dict[str, int] = field(default_factory=dict)
    awaited: list[tuple[Await, Done]] = field(default_factory=list)
    """The waits that were answered."""
    heard: int = 0

    def job(self, job_id: int) -> Job:
        """The entry of an id, made if there is none."""
        found = self.jobs.get(job_id)
        if found is None:
            found = self.jobs[job_id] = Job(job_id)
        return found


def gather(events: Iterable[AnyEvent]) -> Facts:
    """Pair invocations with outcomes and sort them by job. The order of the events does not matter."""
    facts = Facts()
    invoked: dict[tuple[str, int], Call] = {}
    outcomes: dict[tuple[str, int], Outcome] = {}
    for event in events:
        if isinstance(event, Call):
            invoked[event.by, event.op] = event
        elif isinstance(event, Outcome):
            outcomes[event.by, event.op] = event
        else:
            _note(facts, event)
    for key, call in invoked.items():
        _settle(facts, call, outcomes.get(key))
    _sort(facts)
    return facts


def _note(facts: Facts, event: Seen) -> None:
    match event:
        case LinkLost():
            facts.lost_links[event.by, event.link] = event
        case Kill():
            facts.kills.append(event)
        case Serving():
            facts.servings[event.op] = event
        case Counted():
            facts.counts.append(event)
        case Limit():
            facts.limits.append(event)
        case Total():
            facts.totals[event.key] = event.value
        case Heard():
            facts.heard += event.count


def _sort(facts: Facts) -> None:
    facts.kills.sort(key=lambda kill: kill.at_us)
    facts.counts.sort(key=lambda count: count.at_us)
    for attempts in facts.attempts.values():
        attempts.sort(key=lambda attempt: attempt.push.at_us)
    for job in facts.jobs.values():
        job.deliveries.sort(key=lambda delivery: delivery.given.lease)


def _settle(facts: Facts, call: Call, outcome: Outcome | None) -> None:
    match call:
        case Push():
            _pushed(facts, call, outcome)
        case Pull() if isinstance(outcome, Done):
            for given in outcome.given:
                facts.job(given.id).deliveries.append(Delivery(given, call, outcome.at_us))
        case Ack():
            _acked(facts, call, outcome)
        case Fail():
            facts.job(call.id).fails.append(_word(call, call.lease, _fate(outcome), outcome))
        case Schedule():
            facts.schedules[call.key].append((call, _fate(outcome)))
        case Increase():
            facts.increases.append((call, _fate(outcome), outcome.value if isinstance(outcome, Done) else None))
        case Await() if isinstance(outcome, Done):
            facts.awaited.append((call, outcome))
        case _:
            return  # a pull that brought nothing, a wait that ended with nothing


def _pushed(facts: Facts, call: Push, outcome: Outcome | None) -> None:
    ids = outcome.ids if isinstance(outcome, Done) else [0] * len(call.keys)
    fate = _fate(outcome)
    answered_us = outcome.at_us if outcome else 0
    code = outcome.code if isinstance(outcome, Refused) else ""
    for key, job_id in zip(call.keys, ids, strict=True):
        facts.attempts[key].append(Attempt(call, fate, job_id, answered_us, code))
        if job_id:
            facts.job(job_id)


def _acked(facts: Facts, call: Ack, outcome: Outcome | None) -> None:
    fate = _fate(outcome)
    refused, unknown = (set(outcome.refused), set(outcome.unknown)) if isinstance(outcome, Done) else (set(), set())
    for job_id, lease in call.jobs:
        its = Fate.REFUSED if job_id in refused else Fate.UNKNOWN if job_id in unknown else fate
        facts.job(job_id).acks.append(_word(call, lease, its, outcome))


def _word(call: Ack | Fail, lease: int, fate: Fate, outcome: Outcome | None) -> Word:
    return Word(lease, call.at_us, fate, outcome.at_us if outcome else 0)


def _fate(outcome: Outcome | None) -> Fate:
    if isinstance(outcome, Done):
        return Fate.DONE
    if isinstance(outcome, Refused) and outcome.code not in UNCERTAIN:
        return Fate.REFUSED
    return Fate.UNKNOWN
