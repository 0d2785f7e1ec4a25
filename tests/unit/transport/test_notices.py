"""Notices between processes are told apart by a number: two of one number would be taken for each other."""

from flashq.transport import event_desk, forwarding, hook_feed
from flashq.transport.envelope import FREE_NOTICES, Notice


def test_no_two_notices_have_one_number() -> None:
    ours = [
        forwarding.INPUT_ENDED, forwarding.STILL_THERE, event_desk.FEED, hook_feed.HOOKS_READY, forwarding.GIVEN_BACK,
    ]  # fmt: skip
    assert min(ours) >= FREE_NOTICES
    assert len({*ours, *map(int, Notice)}) == len(ours) + len(Notice)
