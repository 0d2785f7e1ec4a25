"""Guessing costs time, and its bookkeeping no memory."""

from flashq.access.lockout import ADDRESSES_MAX, FORGET_MS, WAIT_MS_MAX, WAIT_MS_MIN, Lockout


def test_each_guess_past_the_bound_doubles_the_wait() -> None:
    lockout, now, waits = Lockout(2), 0, []
    for n in range(16):
        lockout.wrong("a", f"guess-{n}", now)
        waits.append(lockout.wait_ms("a", now))
        now += waits[-1]
    assert waits[:5] == [0, 0, WAIT_MS_MIN, 2 * WAIT_MS_MIN, 4 * WAIT_MS_MIN]
    assert waits[-1] == WAIT_MS_MAX
    assert lockout.wait_ms("b", now) == 0


def test_same_wrong_token_is_no_guess() -> None:
    lockout = Lockout(1)
    for _ in range(100):
        lockout.wrong("a", "stale", 0)
    assert lockout.wait_ms("a", 0) == 0


def test_quiet_address_is_as_good_as_new() -> None:
    lockout = Lockout(1)
    lockout.wrong("a", "1", 0)
    lockout.wrong("a", "2", 0)
    assert lockout.wait_ms("a", 0) == WAIT_MS_MIN
    lockout.wrong("a", "3", FORGET_MS + 1)
    assert lockout.wait_ms("a", FORGET_MS + 1) == 0


def test_many_addresses_cost_bounded_memory() -> None:
    lockout = Lockout(1)
    for n in range(ADDRESSES_MAX + 5):
        lockout.wrong(f"a{n}", "1", n)
    assert len(lockout._guessers) == ADDRESSES_MAX
