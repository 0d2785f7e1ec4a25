"""Replies are parsed after the clock has stopped; a refusal must not pass for a job."""

import json

import pytest

from loadtest.dialects import PAYLOAD_BYTES, Beanstalkd, Flashq, payload


def test_payloads_are_json_of_one_length_and_differ() -> None:
    some = [payload(number) for number in (0, 1, 9_999_999)]
    assert {len(one) for one in some} == {PAYLOAD_BYTES}
    assert len({json.dumps(json.loads(one)) for one in some}) == len(some)


def test_ids_of_single_and_batch_pushes_are_read() -> None:
    assert Flashq().pushed(b'{"ok":true,"id":7}\n{"reqId":"1","ok":true,"id":8}\n') == [7, 8]
    assert Flashq().pushed(b'{"ok":true,"ids":[7, 8,9]}\n{"ok":true,"ids":[10]}\n') == [7, 8, 9, 10]
    assert Beanstalkd().pushed(b"INSERTED 7\r\nINSERTED 8\r\n") == [7, 8]


def test_refused_push_is_no_id() -> None:
    with pytest.raises(ValueError, match="Queue name"):
        Flashq().pushed(b'{"ok":true,"id":7}\n{"ok":false,"error":"Queue name is empty"}\n')
    with pytest.raises(ValueError, match="OUT_OF_MEMORY"):
        Beanstalkd().pushed(b"INSERTED 7\r\nOUT_OF_MEMORY\r\n")


def test_jobs_delivered_are_read() -> None:
    assert Flashq().pulled(b'{"ok":true,"jobs":[{"id":7,"data":{"to":1}},{"id":8}]}\n') == [7, 8]
    assert Flashq().pulled(b'{"ok":true,"job":null}\n') == []
    assert Beanstalkd().pulled(b"RESERVED 7 2\r\n{}\r\nTIMED_OUT\r\n") == [7]


def test_acks_have_to_count_in_full() -> None:
    Flashq().acked(b'{"ok":true,"ids":[2],"count":2}\n{"ok":true,"ids":[1],"count":1}\n', 3)
    Flashq().acked(b'{"ok":true}\n{"ok":true}\n', 2)
    with pytest.raises(ValueError, match="1 of 2"):
        Flashq().acked(b'{"ok":true,"ids":[1],"count":1}\n', 2)
    with pytest.raises(ValueError, match="NOT_FOUND"):
        Beanstalkd().acked(b"DELETED\r\nNOT_FOUND\r\n", 2)
