"""Codes and statuses: one table, and every error of ours is in it."""

import json

import pytest

from flashq import errors
from flashq.api.http.failures import HttpFailure
from flashq.api.http.plans import plan_of
from flashq.api.http.table import ROUTES
from flashq.api.statuses import CODE_OF, GRPC_STATUS_OF, STATUS_OF, status_of
from flashq.protocol import replies
from flashq.protocol.dispatch import Codec


def every_code() -> set[str]:
    found, todo = set(), [errors.FlashqError]
    while todo:
        one = todo.pop()
        todo += one.__subclasses__()
        if one.__module__ == errors.__name__:  # the client has one that never travels
            found.add(one.code)
    return found


def test_every_code_of_errors_has_a_status() -> None:
    assert every_code() == set(STATUS_OF) == set(GRPC_STATUS_OF)


def test_every_status_of_the_door_has_a_code_that_leads_back_to_its_kind() -> None:
    for status, code in CODE_OF.items():
        assert code in STATUS_OF, status


@pytest.mark.parametrize(
    ("code", "old"), [("not_found", 200), ("duplicate", 200), ("timeout", 200), ("unavailable", 503)]
)
def test_old_routes_answer_refusals_with_200_but_for_gates(code: str, old: int) -> None:
    assert status_of(code, real=False) == old
    assert status_of(code, real=True) == STATUS_OF[code]


def refusal(error: errors.FlashqError) -> bytes:
    return replies.failure(Codec.TEXT, error)


def test_refusal_has_the_text_of_the_protocol_and_its_code() -> None:
    ack = plan_of(next(r for r in ROUTES if r.path == "/jobs/{id}/ack"))
    for real, status in ((False, 200), (True, 404)):
        answered, body = ack.answer(refusal(errors.JobNotFound("Job 7 not found")), real=real)
        assert answered == status
        assert json.loads(body) == {"ok": False, "error": "Job 7 not found", "code": "not_found"}


def test_command_of_the_wrong_shape_is_422_in_plain_text_or_json() -> None:
    ack = plan_of(next(r for r in ROUTES if r.path == "/jobs/ack-batch"))
    with pytest.raises(HttpFailure) as caught:
        ack.answer(refusal(errors.InvalidArgument("missing field `ids`")), real=False)
    status, headers, body = caught.value.answer(real=False)
    assert (status, body) == (422, b"Invalid: missing field `ids`")
    assert dict(headers)[b"content-type"].startswith(b"text/plain")
    status, headers, body = caught.value.answer(real=True)
    assert json.loads(body) == {"ok": False, "error": "Invalid: missing field `ids`", "code": "invalid"}


def test_push_whose_job_lives_elsewhere_is_completed_by_a_look_at_it() -> None:
    push = plan_of(next(r for r in ROUTES if (r.method, r.path) == ("POST", "/queues/{queue}/jobs")))
    assert push.follow_up(b'{"ok":true,"job":{"id":7},"success":true}\n') is None
    assert push.follow_up(b'{"ok":false,"error":"x","code":"invalid"}\n') is None
    reply = b'{"ok":true,"id":1025,"success":true}\n'
    asked = push.follow_up(reply)
    assert asked is not None
    assert (asked.frame, asked.slot) == (b'{"cmd":"GETJOB","id":1025}', 1)
    seen = b'{"ok":true,"job":{"id":1025,"data":[1],"state":"waiting"},"state":"waiting","success":true}\n'
    assert push.answer(push.joined(reply, seen), real=False) == (200, b'{"ok":true,"data":{"id":1025,"data":[1]}}')
    for gone in (b'{"ok":true,"job":null,"state":"completed","success":true}\n', refusal(errors.ShardDown("down"))):
        assert push.answer(push.joined(reply, gone), real=False) == (200, b'{"ok":true,"data":{"id":1025}}')


def test_cron_that_was_not_there_is_false_and_no_failure() -> None:
    delete = plan_of(next(r for r in ROUTES if (r.method, r.path) == ("DELETE", "/crons/{name}")))
    assert delete.answer(refusal(errors.JobNotFound("Cron job not found")), real=True) == (
        200,
        b'{"ok":true,"data":false}',
    )
