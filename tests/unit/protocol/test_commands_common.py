"""What the decoder of common batches lets pass reads exactly like what the full one says, and is sound."""

from typing import Any

import msgspec
import pytest

from flashq.engine.settings import Limits
from flashq.engine.validation import check_entry
from flashq.protocol.commands import JobOptions, PushBatch
from flashq.protocol.commands_common import (
    DELAY_MS_MAX,
    NAME_BYTES_MAX,
    NAME_CHARS_MAX,
    TAGS_MAX,
    CommonPushBatch,
    decoded_push_batch,
    may_be_common,
)
from flashq.shard.pushing import within

ENCODERS = (msgspec.json.encode, msgspec.msgpack.encode)
LONGEST = "\U0001f600" * NAME_CHARS_MAX
COMMON: list[dict[str, Any]] = [
    {}, {"data": {"a": [1]}}, {"priority": -5, "delay": 0}, {"delay": DELAY_MS_MAX}, {"tags": [LONGEST] * TAGS_MAX},
    {"unique_key": LONGEST, "job_id": "é", "max_attempts": 0}, {"delay": None, "tags": None, "unique_key": None},
]  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {"priority": None}, {"delay": DELAY_MS_MAX + 1}, {"delay": -1}, {"unique_key": ""}, {"job_id": LONGEST + "a"},
    {"tags": [""] * (TAGS_MAX + 1)}, {"lifo": True}, {"ttl": 5}, {"jobId": "n"}, {"depends_on": [1]}, {"other": 1},
    {"group_id": "g"}, {"debounce_id": "d"}, {"remove_on_complete": True}, {"timeout": 5},
]  # fmt: skip


def decoded(job: dict[str, Any], codec: int) -> Any:
    frame = ENCODERS[codec]({"cmd": "PUSHB", "queue": "q", "jobs": [job], "reqId": "r", "idempotency_key": "i"})
    assert may_be_common(frame)
    return decoded_push_batch(frame, codec)


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("job", COMMON, ids=str)
def test_common_job_reads_like_the_full_decoders_and_is_within_the_limits(job: dict[str, Any], codec: int) -> None:
    command = decoded(job, codec)
    assert type(command) is CommonPushBatch
    entry = command.jobs[0]
    frame = ENCODERS[codec]({"cmd": "PUSHB", "queue": "q", "jobs": [job]})
    full = (msgspec.msgpack if codec else msgspec.json).decode(frame, type=PushBatch).jobs[0]
    check_entry(Limits(), full, bytes(full.data), None)
    for name in JobOptions.__struct_fields__:
        assert getattr(entry, name) == getattr(full, name), name
    assert bytes(entry.data) == bytes(full.data)
    assert (command.queue, command.idempotency_key) == ("q", "i")


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("job", OTHERS, ids=str)
def test_any_other_job_goes_to_the_full_decoder(job: dict[str, Any], codec: int) -> None:
    try:
        command = decoded(job, codec)
    except msgspec.ValidationError:
        return  # its own words
    assert type(command) is PushBatch


def test_tighter_limits_turn_the_common_decoder_off() -> None:
    assert within(Limits())
    assert not within(Limits(name_bytes_max=NAME_BYTES_MAX - 1))
    assert not within(Limits(tags_max=TAGS_MAX - 1))
    assert not within(Limits(duration_ms_max=DELAY_MS_MAX - 1))
