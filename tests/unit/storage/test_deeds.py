"""Every event has words, and no words have secrets or payloads."""

from typing import Any

import msgspec
import pytest

from flashq.engine import events as e
from flashq.storage.contract import Record
from flashq.storage.deeds import Deed, Queues, deeds, has_job, runs_of

SECRET = "hunter2"


def said(*events: bytes, queues: Queues | None = None) -> list[Deed]:
    return list(deeds(Record(7, 1, 1_000, 5, "boot", b"".join(events)), 3, queues or Queues()))


KINDS = [kind for kind in e.COLD_EVENTS if kind not in (e.JobsPushed, e.Stored)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_told_as_json_can_have_it(kind: type[Any]) -> None:
    fields = {}
    for field in msgspec.structs.fields(kind):
        if field.name == "secret":
            fields[field.name] = SECRET
        elif field.type is int:
            fields[field.name] = 1024
        elif field.type is str:
            fields[field.name] = "words"
        elif field.type is bytes:
            fields[field.name] = SECRET.encode()
        elif field.type is bool:
            fields[field.name] = True
        elif field.required:
            fields[field.name] = None if "None" in str(field.type) else []
    if kind is e.Posted:
        fields["body"] = {"payload": SECRET.encode(), "n": [SECRET.encode()]}
    if kind is e.DefaultsSet:
        from flashq.engine.settings import Defaults

        fields["defaults"] = Defaults(3, 1_000, 0, 0)
    [deed] = said(e.cold(kind(**fields)))
    assert deed.what
    assert (deed.at_ms, deed.shard, deed.record) == (1_000, 3, 7)
    assert SECRET not in msgspec.json.encode(deed).decode()


def test_jobs_are_of_the_queue_that_they_were_pushed_to() -> None:
    queues = Queues()
    frame = b'{"cmd":"PUSH","queue":"mail","data":"%s"}' % SECRET.encode()
    first = (5 << 10 | 3) << 10 | 9
    pushed, leased, acked, other = said(
        e.pack_pushed(e.PUSHED, e.PUSHED_BYTES + len(frame), first, 1, 0) + frame,
        e.pack_leased(e.LEASED, e.LEASED_BYTES, 77, 30_000, 0, 0, first, 1),
        e.pack_acked(e.ACKED, e.ACKED_BYTES, first, 1, 0, 0),
        e.cold(e.Cancelled((99 << 10) << 10 | 9)),
        queues=queues,
    )
    assert [deed.queue for deed in (pushed, leased, acked, other)] == ["mail", "mail", "mail", ""]
    assert [deed.what for deed in (pushed, leased, acked, other)] == ["pushed", "pulled", "completed", "cancelled"]
    assert leased.details == {"lease": 77, "lease_ms": 30_000}
    assert SECRET not in str(pushed)


def test_runs_are_of_neighbours_in_one_slot() -> None:
    assert runs_of([5, 1029, 2053, 6, 1030]) == [(5, 3), (6, 2)]
    runs = [(5, 3), (6, 1)]
    assert [has_job(runs, job) for job in (5, 1029, 2053, 3077, 6, 1030, 7)] == [True] * 3 + [False, True, False, False]


def test_record_of_a_later_version_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown kind 250"):
        said(b"\xfa\0\0\0\0")
