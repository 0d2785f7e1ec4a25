"""A trace is what W3C Trace Context says it is."""

import pytest

from flashq.errors import InvalidArgument
from flashq.protocol.traces import check_trace, is_trace, trace_in_header

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BAD = [
    "", "1", GOOD + "-", GOOD[:-1], GOOD.upper(), GOOD.replace("00-4", "ff-4", 1), " " + GOOD, GOOD + "\n",
    "00-" + 32 * "0" + "-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-" + 16 * "0" + "-01",
    GOOD.replace("4", "٤"), 10_000 * "0",
]  # fmt: skip


def test_traceparent_is_a_trace() -> None:
    assert is_trace(GOOD)
    assert trace_in_header(GOOD) == GOOD
    check_trace(GOOD)


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_by_name_and_ignored_in_headers(text: str) -> None:
    assert trace_in_header(text) is None
    with pytest.raises(InvalidArgument, match=r"`trace` is '[^']{0,64}', allowed is a traceparent"):
        check_trace(text)
