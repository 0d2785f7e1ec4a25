"""When what died is started again."""

from flashq.cluster.backoff import Backoff


def test_first_restart_is_at_once_then_ever_later_up_to_five_seconds() -> None:
    backoff = Backoff()
    delays = [backoff.next_delay_ms(0) for _ in range(11)]
    assert delays == [0, 50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]


def test_ten_seconds_of_serving_forgive_what_was_before() -> None:
    backoff = Backoff()
    assert [backoff.next_delay_ms(ms) for ms in (0, 9_999, 10_000, 0)] == [0, 50, 0, 50]


def test_days_of_dying_stay_at_the_limit() -> None:
    backoff = Backoff()
    assert max(backoff.next_delay_ms(0) for _ in range(100_000)) == 5_000
