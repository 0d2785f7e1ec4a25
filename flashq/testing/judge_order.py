"""Jobs that wait for others: dependants after their dependencies, parents of flows after their children."""

from collections.abc import Iterator, Mapping

from flashq.testing.facts import Facts, Fate
from flashq.testing.history import Push
from flashq.testing.violations import Kind, Rules, Violation

Owners = Mapping[str, set[int]]
NEVER: int = 1 << 62


def waits(push: Push, key: str) -> bool:
    """Whether the job of this key is the one that waits."""
    return bool(push.after) and key == push.keys[0]


def dependants(facts: Facts, owners: Owners, rules: Rules) -> Iterator[Violation]:
    """None ran before all that it waits for was completed, and none waits any more when it was."""
    for key, attempts in facts.attempts.items():
        push = attempts[0].push
        if not waits(push, key):
            continue
        ready_us = max(_completed_us(facts, owners.get(each, set()), sure=False) for each in push.after)
        for job_id in owners.get(key, set()):
            deliveries = facts.jobs[job_id].deliveries
            early = deliveries and deliveries[0].given.started_ms + 1 + rules.tolerance_ms < ready_us / 1_000
            if early:
                yield Violation(Kind.EARLY, f"{key}, job {job_id}, ran before one of {push.after} was completed")
            elif not deliveries:
                yield _never(facts, owners, push, key, job_id)


def _never(facts: Facts, owners: Owners, push: Push, key: str, job_id: int) -> Violation:
    """It was acknowledged and never came: whose fault is it?"""
    done = all(_completed_us(facts, owners.get(each, set()), sure=True) < NEVER for each in push.after)
    if done:
        return Violation(Kind.STUCK, f"{key}, job {job_id}, never came, though all of {push.after} were completed")
    return Violation(Kind.LOST, f"{key}, acknowledged as job {job_id}, was never delivered")


def _completed_us(facts: Facts, ids: set[int], *, sure: bool) -> int:
    """The first moment at which one of them may have been completed; `sure`: at which it was known to be."""
    acks = [ack for job_id in ids for ack in facts.jobs[job_id].acks]
    if sure:
        return min((ack.answered_us for ack in acks if ack.fate is Fate.DONE), default=NEVER)
    return min((ack.invoked_us for ack in acks if ack.fate is not Fate.REFUSED), default=NEVER)
