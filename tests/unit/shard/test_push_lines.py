"""Pushes that came together, carried out as one batch, come to what they come to one by one."""

from unittest.mock import create_autospec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashq.access.access import Access
from flashq.protocol.dispatch import Codec
from flashq.shard.dispatcher import ShardDispatcher
from flashq.shard.ports import Elsewhere, Totals
from flashq.testing.engine_kit import EngineKit, Ticket, check_counts, engine_facts


class Client:
    """A link whose replies are kept."""

    local = False
    takes_events = True
    codec = Codec.TEXT
    wrong_tokens = 0

    def __init__(self, principal: str) -> None:
        self.gid = 7
        self.principal = principal
        self.said: list[bytes] = []

    def reply(self, body: bytes) -> None:
        self.said.append(body)

    def hold(self, *, ordered: bool) -> Ticket:
        self.said.append(b"held\n")
        return Ticket()

    def takes_jobs(self) -> bool:
        return True

    def fatal(self, text: str, code: str) -> None:
        self.said.append(text.encode())

    def forwarded_to(self, shard: int) -> None:
        raise AssertionError("there is one shard")

    def push_event(self, body: bytes) -> None:
        raise AssertionError("nobody subscribed")


class Shard:
    """A dispatcher and what it changes."""

    def __init__(self, *, together: bool, access: Access | None = None) -> None:
        self.kit = EngineKit()
        elsewhere = create_autospec(Elsewhere, instance=True)
        elsewhere.req_id_of.return_value = b""
        elsewhere.knock.return_value = ("PUSH", "")
        self.dispatcher = ShardDispatcher(
            self.kit.engine, shard=0, shards=1, owner_of=lambda slot: 0, elsewhere=elsewhere,
            totals=create_autospec(Totals, instance=True), access=access or Access(),
        )  # fmt: skip
        self.client = Client("anyone")
        self.together = together
        self.batches = 0

    def hear(self, lines: list[bytes]) -> list[object]:
        """The answers to what came at once."""
        self.kit.begin()
        whole = b"".join(line + b"\n" for line in lines)
        if self.together and self.dispatcher.submit_lines(self.client, whole, lines):
            self.batches += 1
        else:
            for line in lines:
                self.dispatcher.submit(self.client, line)
        self.kit.commit()
        woken = [got for _, got in self.kit.fetch_woken()]
        said, self.client.said = b"".join(self.client.said), []
        return [said, woken]


def line(queue: str, data: str, more: str = "") -> bytes:
    return f'{{"cmd":"PUSH","queue":"{queue}","data":{data}{more}}}'.encode()


PUSHES = st.builds(
    line, st.sampled_from("qqqqqz"), st.sampled_from(("1", "null", '{"a":[1,2]}', '"PUSH"', '"' + "x" * 200 + '"'))
)
OTHER_LINES = (
    line("q", "1", ',"priority":4'), line("q", "1", ',"reqId":"r"'), line("q", "1", ',"idempotency_key":"k"'),
    line("q", '"é"'), line("q", r'"\u00e9"'), line("q", r'"\ud800"'), line("a b", "1"), line("q", "1", ',"delay":-5'),
    line("q", "{"), line("q", "1") + b"\r", b"", b'{"cmd":"PUSH","queue":"q"}', b'{"cmd":"PING"}',
    b'{"cmd":"PULL","queue":"q","timeout":0}', b'{"cmd":"PULL","queue":"q","timeout":900}',
    b'{"cmd":"PAUSE","queue":"q"}', b'{"cmd":"RESUME","queue":"q"}', b"\xff",
)  # fmt: skip
OTHERS = st.sampled_from(OTHER_LINES)
ALIKE = [line("q", "6")] * 5
CHUNKS = st.lists(
    st.one_of(
        st.lists(PUSHES, min_size=2, max_size=12),
        st.lists(st.builds(line, st.just("q"), st.just("5")), min_size=2, max_size=12),
        st.lists(st.one_of(PUSHES, PUSHES, OTHERS), min_size=2, max_size=12),
        st.builds(lambda other, at: [*ALIKE[:at], other, *ALIKE[at:]], OTHERS, st.integers(0, len(ALIKE))),
        st.lists(OTHERS, min_size=1, max_size=3),
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(chunks=CHUNKS)
def test_together_or_one_by_one(chunks: list[list[bytes]]) -> None:
    shard, other = Shard(together=True), Shard(together=False)
    for lines in chunks:
        assert shard.hear(lines) == other.hear(lines)
        assert engine_facts(shard.kit.engine) == engine_facts(other.kit.engine)
        assert [r.events for r in shard.kit.memory.kept] == [r.events for r in other.kit.memory.kept]
    check_counts(shard.kit.engine)
    assert engine_facts(shard.kit.replayed()) == engine_facts(shard.kit.engine)


@pytest.mark.parametrize("other_line", OTHER_LINES)
def test_one_that_differs_is_heard_as_ever(other_line: bytes) -> None:
    """In a queue that has jobs, and in one where a pull waits."""
    shard, other = Shard(together=True), Shard(together=False)
    for before in ([line("q", "0")], [b'{"cmd":"PULL","queue":"q","timeout":900}'] * 3):
        assert shard.hear(before) == other.hear(before)
        for at in range(len(ALIKE) + 1):
            lines = [*ALIKE[:at], other_line, *ALIKE[at:]]
            assert shard.hear(lines) == other.hear(lines)
    assert [r.events for r in shard.kit.memory.kept] == [r.events for r in other.kit.memory.kept]
    assert engine_facts(shard.kit.engine) == engine_facts(other.kit.engine)


def test_pulls_that_wait_get_their_jobs_one_by_one() -> None:
    shard, other = Shard(together=True), Shard(together=False)
    pull = b'{"cmd":"PULLB","queue":"q","count":3,"timeout":900}'
    for lines in ([line("q", "0")], [pull], [pull, pull], ALIKE, ALIKE):
        assert shard.hear(lines) == other.hear(lines)
    assert shard.batches == 1
    assert [r.events for r in shard.kit.memory.kept] == [r.events for r in other.kit.memory.kept]


def test_plain_pushes_are_one_batch_and_others_are_not() -> None:
    """So that the comparison above compares something; over the ends of pages too."""
    shard, other = Shard(together=True), Shard(together=False)
    for one in (shard, other):
        one.hear([line("q", "0")])
        for n in range(10):
            assert one.hear([line("q", str(n * 300 + k)) for k in range(300)])
    assert shard.batches == 10
    assert engine_facts(shard.kit.engine) == engine_facts(other.kit.engine)
    assert [r.events for r in shard.kit.memory.kept] == [r.events for r in other.kit.memory.kept]
    shard.hear([line("q", "1")] * 3 + [line("q", "1", ',"reqId":1')])
    shard.hear([line("q", "1")] * 3 + [line("new", "1")])
    shard.dispatcher.refusal = "full"
    assert b'"error":"full"' in bytes(shard.hear([line("q", "1")] * 8)[0])  # type: ignore[call-overload]
    assert shard.batches == 10


def test_who_has_shown_no_token_is_not_let_in_by_many() -> None:
    shard, other = (Shard(together=way, access=Access(["secret"])) for way in (True, False))
    for one in (shard, other):
        one.client.principal = "token-1"
        one.hear([line("q", "0")] * 9)
        one.client.principal = ""
    assert shard.hear([line("q", "1")] * 8) == other.hear([line("q", "1")] * 8)
    assert shard.kit.engine.queue("q").waiting == 9


@pytest.mark.parametrize("colon", [":", ": "])
def test_line_in_which_a_key_stands_twice_is_refused_among_others(colon: str) -> None:
    """One of many lines that came together: it alone, and the others are stored."""
    comma = "," if colon == ":" else ", "
    good = f'{{"cmd"{colon}"PUSH"{comma}"queue"{colon}"a"{comma}"data"{colon}1}}'.encode()
    bad = good[:-1] + f'{comma}"data"{colon}2}}'.encode()
    shard = Shard(together=True)
    shard.hear([good])
    said = shard.hear([good] * 4 + [bad])[0]
    assert isinstance(said, bytes)
    assert [b"repeated key `data`" in one for one in said.splitlines()] == [False] * 4 + [True]
    shard.hear([good] * 5)
    assert shard.batches == 1
