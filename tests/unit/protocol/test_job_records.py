"""Jobs with options are written as `JobView` writes them, whatever is in them."""

from itertools import product
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from flashq.protocol.job_records import BinaryRecords, TextRecords, Usual
from flashq.protocol.jobs import JobView

AT, LEASE = 1_700_000_000_123, (7 << 33) + 5
QUEUES = ("mail", 'a"b%d', "100%", 'x"data":null', "grün")
JOBS: list[Usual] = [
    (1024, b"null", (0, 1, 1, 0, 0, 0, 0, 0), None, None, None),
    (2048, b'{"id":"%d","tags":["t"]}', (-5, 10, 20, 1, 5, 100, 1_000, 2_000), 'k"%b', ["mail", "%d", ""], "näme"),
    (1 << 52, b'"lease"', (2**31 - 1, AT, AT + 1, 9, 3, 1, 1, 1), "", [], None),
    (3072, b"[]", (-5, 10, 20, 1, 5, 100, 1_000, 2_000), None, ["t"], "c"),
]


def expected(queue: str, job: Usual) -> dict[str, Any]:
    number, payload, numbers, unique, tags, custom = job
    priority, created, run_at, attempts, most, backoff, ttl, timeout = numbers
    view = JobView(
        id=number, queue=queue, data=Raw(payload), priority=priority, created_at=created, run_at=run_at,
        attempts=attempts, max_attempts=most, backoff=backoff, ttl=ttl, timeout=timeout, unique_key=unique,
        tags=tags or [], custom_id=custom, started_at=AT, last_heartbeat=AT, lease=LEASE,
    )  # fmt: skip
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return values


@pytest.mark.parametrize("queue", QUEUES)
def test_text_is_that_of_the_struct(queue: str) -> None:
    writer = TextRecords(queue, AT, LEASE)
    for job in JOBS:
        written = writer.write(job)
        assert written[:1] == b","
        found = msgspec.json.decode(written[1:])
        assert list(found.items()) == list(expected(queue, job).items())


@pytest.mark.parametrize(("queue", "number"), list(product(QUEUES, range(len(JOBS)))))
def test_binary_has_the_same_keys_in_the_same_order(queue: str, number: int) -> None:
    job = JOBS[number]
    packed = (job[0], msgspec.msgpack.encode(msgspec.json.decode(job[1])), *job[2:])
    found = msgspec.msgpack.decode(BinaryRecords(queue, AT, LEASE).write(packed))
    assert list(found.items()) == list(expected(queue, job).items())
