"""Unique keys: of all jobs of a queue with one key only one exists, in any state but completed.

The key is taken when the job is pushed (`admit` in push.py) and free again in the moment in which it completes or
ceases to exist; retries, dead letters and their revival keep it. It is a field of the job's options, so that replay
finds it where pushes are.
"""

from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job
from flashq.engine.queues import Queue
from flashq.errors import Duplicate


def refusal(queue: Queue, key: str) -> Duplicate | None:
    """Why a job with this key cannot be pushed now."""
    seq = queue.unique.get(key)
    if seq is None or (queue.sweep is not None and _was_removed(queue, seq)):
        return None
    return duplicate(key)


def _was_removed(queue: Queue, seq: int) -> bool:
    """Whether the holder of a key does not exist any more, and is only still to be cleared away."""
    page, i = queue.slot.find(seq)
    return page is None or page.jobs[i] is None or is_removed(page, i)


def duplicate(key: str) -> Duplicate:
    return Duplicate(f"Duplicate job with key: {key}")


def release(job: Job) -> None:
    """The job completed or ceased to exist."""
    key = job.options.unique_key
    if key is not None and job.queue.unique.get(key) == job.seq:
        del job.queue.unique[key]
