"""What is no single job's: the runs of crons, the sums of counters, the results that waiting clients were told."""

from collections import defaultdict
from collections.abc import Iterator

from flashq.testing.facts import Facts, Fate, Job
from flashq.testing.history import Increase
from flashq.testing.violations import Kind, Rules, Violation


def of_cron(facts: Facts, job: Job) -> bool:
    """A cron made the job."""
    return bool(job.deliveries) and job.deliveries[0].given.key in facts.schedules


def crons(facts: Facts, rules: Rules) -> Iterator[Violation]:
    """A cron makes as many jobs as its limit says, the n-th not before its n-th run."""
    runs: dict[str, list[int]] = defaultdict(list)
    for job in facts.jobs.values():
        if of_cron(facts, job):
            runs[job.deliveries[0].given.key].append(job.deliveries[0].given.started_ms)
    for key, calls in facts.schedules.items():
        moments = sorted(runs[key])
        cron = calls[0][0]
        made = any(fate is Fate.DONE for _, fate in calls)
        refused = all(fate is Fate.REFUSED for _, fate in calls)
        allowed = {cron.limit} if made else {0} if refused else {0, cron.limit}
        if len(moments) not in allowed:
            yield Violation(Kind.TICKS, f"{key} made {len(moments)} jobs of {cron.limit}")
        first_ms = min(call.at_us for call, _ in calls) // 1_000
        for number, moment in enumerate(moments, 1):
            early = first_ms + number * cron.every_ms - rules.tolerance_ms - moment
            if early > 0:
                yield Violation(Kind.TICKS, f"job {number} of {key} came {early} ms before its run")


def sums(facts: Facts) -> Iterator[Violation]:
    """A counter is what was added to it, and no two increases ended at one sum."""
    for key, total in facts.totals.items():
        possible = {0}
        ends: dict[int, str] = {}
        for once, tries in _increases(facts, key).items():
            fates = {fate for _, fate, _ in tries}
            added = {sum_ + tries[0][0].amount for sum_ in possible} if fates != {Fate.REFUSED} else set()
            possible = added if Fate.DONE in fates else possible | added
            for value in {value for _, _, value in tries if value is not None}:
                other = ends.setdefault(value, once)
                if other != once:
                    yield Violation(Kind.SUMS, f"{key} was {value} after {other} and after {once}")
        if total not in possible:
            bounds = f"{min(possible)} to {max(possible)}"
            yield Violation(Kind.SUMS, f"{key} is {total}; what was added is {bounds}")


def _increases(facts: Facts, key: str) -> dict[str, list[tuple[Increase, Fate, int | None]]]:
    """By what makes them one."""
    found: dict[str, list[tuple[Increase, Fate, int | None]]] = defaultdict(list)
    for each in facts.increases:
        if each[0].key == key:
            found[each[0].once or f"{each[0].by}'s {each[0].op}"].append(each)
    return found


def results(facts: Facts) -> Iterator[Violation]:
    """A result is the lease of an ack that may have counted, sent before the wait was answered."""
    for wait, answer in facts.awaited:
        job = facts.jobs.get(wait.id)
        acks = [ack for ack in job.acks if ack.fate is not Fate.REFUSED] if job else []
        if not any(ack.lease == answer.value and ack.invoked_us <= answer.at_us for ack in acks):
            yield Violation(Kind.RESULT, f"a wait for job {wait.id} was told {answer.value}: nobody had said so")
