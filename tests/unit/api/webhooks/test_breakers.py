"""A URL that fails in a row is left alone, then tried carefully."""

from flashq.api.webhooks.breakers import FAILURES, Breaker


def _opened() -> Breaker:
    breaker = Breaker(30.0)
    for _ in range(FAILURES):
        assert breaker.may_try(7, 0.0)
        breaker.ended(ok=False, now_s=0.0)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker(30.0)
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.ended(ok=False, now_s=0.0)
        breaker.ended(ok=True, now_s=0.0)
    assert breaker.may_try(7, 0.0)
    assert not _opened().may_try(0, 29.9)


def test_after_a_while_one_request_at_a_time_is_tried_until_two_succeed() -> None:
    breaker = _opened()
    assert breaker.may_try(0, 30.0)
    assert not breaker.may_try(1, 30.0)
    breaker.ended(ok=True, now_s=30.0)
    assert not breaker.may_try(1, 30.0)
    breaker.ended(ok=True, now_s=30.0)
    assert breaker.may_try(7, 30.0)
    assert breaker.idle


def test_failure_on_trial_opens_it_again() -> None:
    breaker = _opened()
    breaker.ended(ok=False, now_s=31.0)
    assert not breaker.may_try(0, 60.9)
    assert breaker.may_try(0, 61.0)
