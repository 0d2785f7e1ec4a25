"""The checker: does a history of clients keep what the server promises, whatever was killed meanwhile?

Each kind of violation is a member of `Kind`; together they are the promises
- a push that was acknowledged is never lost (LOST, VANISHED), happens once (DOUBLED, ID_TWICE) and as it was sent
  (PHANTOM, DAMAGED);
- an acknowledged completion is final (REDELIVERED);
- no two leases of one job overlap, a superseded one counts for nothing (OVERLAP, STALE_ACK, LEASE_TWICE);
- attempts say what happened (ATTEMPTS), counts are exact (COUNTS);
- what was refused did not happen (HALF); what is unknown may have happened or not;
- a job runs after all that it waits for (EARLY, STUCK); a key or a name is one live job (KEY_SHARED, KEY_STUCK,
  NAME_MIXED); limits are kept (LIMIT); each run of a cron is one job (TICKS); counters are exact (SUMS); who waits for
  a job is told its result (RESULT).

It wants a whole life: the history ends after the queues were drained, so that a job which is neither completed nor
dead by then is lost. It never guesses against the server: where the history leaves two readings (an answer that
was lost, a lease whose end nobody saw) the one in the server's favour counts. So it may miss a violation, but one that
it reports is one. The classes follow Jepsen's queue checkers (lost, unexpected, duplicated, recovered).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from flashq.testing import judge_keys, judge_leases, judge_limits, judge_order, judge_store
from flashq.testing.facts import Attempt, Facts, Fate, Job, Word, gather
from flashq.testing.history import AnyEvent, Counted
from flashq.testing.violations import Kind, Rules, Violation

EXAMPLES_MAX: Final = 20
"""Violations told in full; all are counted."""


class Verdict(msgspec.Struct):
    """Figures of a history, and what is wrong with it."""

    pushes_attempted: int = 0
    pushes_acknowledged: int = 0
    pushes_unknown: int = 0
    pushes_refused: int = 0
    unknown_that_happened: int = 0
    """Of the unknown pushes, those whose job came."""
    jobs_delivered: int = 0
    deliveries: int = 0
    completions_acknowledged: int = 0
    completions_unknown: int = 0
    failures_acknowledged: int = 0
    kills: int = 0
    cron_runs: int = 0
    increases: int = 0
    waits_answered: int = 0
    events_heard: int = 0
    violations: dict[Kind, int] = {}
    examples: list[str] = []

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not self.violations

    def add(self, other: "Verdict") -> None:
        """Sum up with another history's."""
        for name in self.__struct_fields__:
            mine, its = getattr(self, name), getattr(other, name)
            if isinstance(mine, int):
                setattr(self, name, mine + its)
        self.violations = dict(Counter(self.violations) + Counter(other.violations))
        self.examples = (self.examples + other.examples)[:EXAMPLES_MAX]


def check(events: Iterable[AnyEvent], rules: Rules | None = None) -> Verdict:
    """Judge a whole history."""
    facts = gather(events)
    verdict = _figures(facts)
    found = list(_violations(facts, rules or Rules()))
    verdict.violations = dict(Counter(violation.kind for violation in found))
    verdict.examples = [f"{violation.kind}: {violation.text}" for violation in found[:EXAMPLES_MAX]]
    return verdict


def _violations(facts: Facts, rules: Rules) -> Iterator[Violation]:
    owners = _ids_by_key(facts)
    yield from _identity(facts, owners)
    for key, attempts in facts.attempts.items():
        yield from _push(facts, key, attempts, owners.get(key, set()))
    for job in facts.jobs.values():
        yield from judge_leases.completion(job)
        yield from judge_leases.leases(job, facts, rules)
        if not _revived(facts, job):
            yield from judge_leases.attempts(job)
    yield from _batches(facts, owners)
    yield from judge_order.dependants(facts, owners, rules)
    yield from judge_keys.unique_keys(facts, owners)
    yield from judge_keys.names(facts, owners)
    yield from judge_limits.limits(facts, rules)
    yield from judge_store.crons(facts, rules)
    yield from judge_store.sums(facts)
    yield from judge_store.results(facts)
    yield from _doomed(facts, owners, rules)
    yield from _counts(facts, owners)


# -- pushes


def _ids_by_key(facts: Facts) -> dict[str, set[int]]:
    """Every id under which a key was acknowledged or delivered.

    The id that a push with a custom id was told may be another push's job; the jobs of a cron share one key.
    """
    owners: dict[str, set[int]] = {}
    for key, attempts in facts.attempts.items():
        owners[key] = {attempt.id for attempt in attempts if attempt.id and not attempt.push.name}
    for job in facts.jobs.values():
        for delivery in job.deliveries:
            if delivery.given.key not in facts.schedules:
                owners.setdefault(delivery.given.key, set()).add(job.id)
    return owners


def _revived(facts: Facts, job: Job) -> bool:
    """A dead letter that waits again begins with no attempts."""
    attempts = facts.attempts.get(job.deliveries[0].given.key) if job.deliveries else None
    return attempts is not None and attempts[0].push.revived


def _identity(facts: Facts, owners: dict[str, set[int]]) -> Iterator[Violation]:
    """Keys and ids are one to one, and every delivered key was pushed."""
    damaged = owners.pop("", set())
    for job_id in damaged:
        yield Violation(Kind.DAMAGED, f"job {job_id} came with a payload that no key stands for")
    key_of: dict[int, str] = {}
    for key, ids in owners.items():
        if key not in facts.attempts:
            yield Violation(Kind.PHANTOM, f"job {sorted(ids)} came as {key}, which nobody pushed")
        if len(ids) > 1:
            yield Violation(Kind.DOUBLED, f"{key} is {len(ids)} jobs: {sorted(ids)}")
        for job_id in ids:
            other = key_of.setdefault(job_id, key)
            if other != key:
                yield Violation(Kind.ID_TWICE, f"id {job_id} is both {other} and {key}")


def _push(facts: Facts, key: str, attempts: list[Attempt], ids: set[int]) -> Iterator[Violation]:
    """What was acknowledged has come and ended; what was refused has not come."""
    acknowledged = {attempt.id for attempt in attempts if attempt.id}
    expected = not attempts[0].push.doomed and not judge_order.waits(attempts[0].push, key)
    for job_id in acknowledged:
        if expected and not facts.jobs[job_id].deliveries:
            yield Violation(Kind.LOST, f"{key}, acknowledged as job {job_id}, was never delivered")
    if ids and all(attempt.fate is Fate.REFUSED for attempt in attempts):
        yield Violation(Kind.HALF, f"{key} was refused, but is job {sorted(ids)}")
    if attempts[0].push.doomed:
        return
    for job_id in ids:
        job = facts.jobs[job_id]
        if job.deliveries and not any(ack.fate is not Fate.REFUSED for ack in job.acks):
            yield Violation(Kind.VANISHED, f"{key}, job {job_id}, was delivered, never completed, and is gone")


def _batches(facts: Facts, owners: dict[str, set[int]]) -> Iterator[Violation]:
    """A batch whose answer was lost happened as a whole, or not at all."""
    batches = {id(attempt.push): attempt.push for attempts in facts.attempts.values() for attempt in attempts}
    for push in batches.values():
        came = sum(bool(owners.get(key)) for key in push.keys)
        # A doomed job may have died before anybody who lived saw it.
        if 0 < came < len(push.keys) and not push.doomed:
            yield Violation(Kind.HALF, f"{came} of the {len(push.keys)} jobs of {push.by}'s push {push.op} came")


# -- ends and sums


def _doomed(facts: Facts, owners: dict[str, set[int]], rules: Rules) -> Iterator[Violation]:
    """A job that only fails does so `max_attempts` times at most."""
    for key, attempts in facts.attempts.items():
        if not attempts[0].push.doomed:
            continue
        for job_id in owners.get(key, ()):
            failures = {fail.lease for fail in facts.jobs[job_id].fails if fail.fate is Fate.DONE}
            if len(failures) > rules.doomed_attempts:
                yield Violation(Kind.ATTEMPTS, f"job {job_id} failed {len(failures)} times of {rules.doomed_attempts}")


def _counts(facts: Facts, owners: dict[str, set[int]]) -> Iterator[Violation]:
    """Counted when all was quiet, and again when all was drained: what lies between was there to be drained."""
    if len(facts.counts) < 2:
        return
    quiet, end = facts.counts[-2], facts.counts[-1]
    if _present(end):
        yield Violation(Kind.COUNTS, f"drained, yet {_present(end)} jobs are counted: {end}")
    died = end.dead - quiet.dead
    ends = Counter(_end_after(job, quiet.at_us) for job in facts.jobs.values() if not judge_store.of_cron(facts, job))
    sure = ends[Fate.DONE] + died
    if not sure <= _present(quiet) <= sure + ends[Fate.UNKNOWN]:
        yield Violation(Kind.COUNTS, f"{_present(quiet)} jobs were counted, {sure} were there: {quiet}")
    if len(facts.counts) > 2:
        yield from _dead_counts(facts, owners, end.dead - facts.counts[0].dead)


def _end_after(job: Job, moment_us: int) -> Fate | None:
    """How sure it is that a job was completed after a moment; None if it was before, or never."""
    done = [ack.invoked_us for ack in job.acks if ack.fate is Fate.DONE]
    if done:
        return Fate.DONE if min(done) > moment_us else None
    unknown = any(ack.fate is Fate.UNKNOWN and ack.invoked_us > moment_us for ack in job.acks)
    return Fate.UNKNOWN if unknown else None


def _dead_counts(facts: Facts, owners: dict[str, set[int]], dead: int) -> Iterator[Violation]:
    """Dead are all doomed jobs and no others; an unknown push may have made one that nobody saw."""
    doomed = [key for key, attempts in facts.attempts.items() if attempts[0].push.doomed]
    least = sum(len(owners.get(key, ())) for key in doomed)
    most = least + sum(
        not owners.get(key) and any(attempt.fate is Fate.UNKNOWN for attempt in facts.attempts[key]) for key in doomed
    )
    if not least <= dead <= most:
        yield Violation(Kind.COUNTS, f"{dead} dead letters, but {least} to {most} doomed jobs")


def _present(counted: Counted) -> int:
    return counted.waiting + counted.delayed + counted.active + counted.held


def _figures(facts: Facts) -> Verdict:
    pushed = Counter(_best(attempts) for attempts in facts.attempts.values())
    came = {delivery.given.key for job in facts.jobs.values() for delivery in job.deliveries}
    unsure = [key for key, attempts in facts.attempts.items() if _best(attempts) is Fate.UNKNOWN]
    ended = Counter(_best(job.acks) for job in facts.jobs.values() if job.acks)
    return Verdict(
        pushes_attempted=len(facts.attempts),
        pushes_acknowledged=pushed[Fate.DONE],
        pushes_unknown=pushed[Fate.UNKNOWN],
        pushes_refused=pushed[Fate.REFUSED],
        unknown_that_happened=sum(key in came for key in unsure),
        jobs_delivered=sum(bool(job.deliveries) for job in facts.jobs.values()),
        deliveries=sum(len(job.deliveries) for job in facts.jobs.values()),
        completions_acknowledged=ended[Fate.DONE],
        completions_unknown=ended[Fate.UNKNOWN],
        failures_acknowledged=sum(fail.fate is Fate.DONE for job in facts.jobs.values() for fail in job.fails),
        kills=len(facts.kills),
        cron_runs=sum(judge_store.of_cron(facts, job) for job in facts.jobs.values()),
        increases=sum(fate is Fate.DONE for _, fate, _ in facts.increases),
        waits_answered=len(facts.awaited),
        events_heard=facts.heard,
    )


def _best(tries: Sequence[Attempt] | Sequence[Word]) -> Fate:
    """What is known at best after several tries of one thing."""
    fates = {each.fate for each in tries}
    return Fate.DONE if Fate.DONE in fates else Fate.UNKNOWN if Fate.UNKNOWN in fates else Fate.REFUSED


__all__ = ["Kind", "Rules", "Verdict", "Violation", "check"]
