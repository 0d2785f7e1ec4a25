"""Every field of every command: wrong type, null, negative, too large, missing. Refused by name, nothing applied."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from flashq.protocol import commands
from tests.conformance import catalogue
from tests.conformance.catalogue import ANY, BEYOND_64_BITS, COMMANDS, OPTIONS, Kind
from tests.conformance.peer import MSGPACK, Peer, Reply, encoded, refused
from tests.conformance.ways import Way

SAID_OTHERWISE = {
    "queue": "Queue name", "key": "Key ", "schedule": "cron", "children": "child",
    "jobId": "job_id", "keepCompletedAge": "keep_completed_age", "keepCompletedCount": "keep_completed_count",
}  # fmt: skip
"""How texts that clients know name a field; an alias may be named as its twin."""


class Ground:
    """Jobs and names for one test, and a picture of all that a request could change."""

    def __init__(self, c: Peer, way: Way) -> None:
        self.c = c
        self.queue, self.far, self.key, self.name = way.queue(), way.far(), way.name(), way.name()
        self.active = c.push(self.queue, {"a": 1})
        assert c.pull(self.queue)["id"] == self.active
        self.waiting = c.push(self.queue, {"w": 1})
        self._of = {
            catalogue.QUEUE: self.queue, catalogue.FAR: self.far, catalogue.WAITING: self.waiting,
            catalogue.ACTIVE: self.active, catalogue.KEY: self.key, catalogue.NAME: self.name,
        }  # fmt: skip

    def filled(self, value: Any) -> Any:
        """An example with its placeholders replaced."""
        if isinstance(value, str):
            return self._of.get(value, value)
        if isinstance(value, list):
            return [self.filled(x) for x in value]
        if isinstance(value, Mapping):
            return {key: self.filled(x) for key, x in value.items()}
        return value

    def picture(self) -> list[Reply]:
        """What a request could have changed."""
        asked = [self.c.ok("GETJOB", id=self.active), self.c.ok("GETJOB", id=self.waiting)]
        return [*asked, self.c.ok("COUNT", queue=self.queue), self.c.ok("COUNT", queue=self.far), *self._stored()]

    def _stored(self) -> list[Reply]:
        queues = [entry for entry in self.c.ok("LISTQUEUES")["queues"] if entry["name"] in (self.queue, self.far)]
        return [{"queues": queues, **self.c.ok("KVGET", key=self.key)}, self.c.ok("GETJOBBYCUSTOMID", job_id=self.name)]


def bad_values(kind: Kind, codec: str, *, required: bool) -> Iterator[Any]:
    yield from (value for value in kind.bad if codec != MSGPACK or value != BEYOND_64_BITS or isinstance(value, float))
    if required and not kind.nullable:
        yield None


def names(text: str, field: str) -> bool:
    return field in text or SAID_OTHERWISE.get(field, field).lower() in text.lower()


def check_refused(c: Peer, request: Mapping[str, Any], field: str) -> None:
    reply = refused(c.ask(**request), f"{field} in {str(request)[:300]}")
    assert reply["code"] in ("invalid", "too_large"), reply
    text = reply["error"]
    assert names(text, field), (str(request)[:300], text)
    assert len(text) < 2_000


CASES = [(cmd, field) for cmd, entry in COMMANDS.items() for field, kind in entry.fields().items() if kind is not ANY]


@pytest.mark.parametrize(("cmd", "field"), CASES, ids=["-".join(case) for case in CASES])
def test_field_refuses_what_it_cannot_take(c: Peer, way: Way, cmd: str, field: str) -> None:
    entry = COMMANDS[cmd]
    ground = Ground(c, way)
    before = ground.picture()
    example = ground.filled(entry.example)
    for value in bad_values(entry.fields()[field], way.codec, required=field in entry.required):
        check_refused(c, {"cmd": cmd, **example, field: value}, field)
    assert ground.picture() == before


@pytest.mark.parametrize("cmd", [cmd for cmd, entry in COMMANDS.items() if entry.required])
def test_fields_that_are_missing_are_named(c: Peer, way: Way, cmd: str) -> None:
    ground = Ground(c, way)
    before = ground.picture()
    for field in COMMANDS[cmd].required:
        example = {key: value for key, value in ground.filled(COMMANDS[cmd].example).items() if key != field}
        reply = c.refusal(cmd, **example)
        assert f"missing field `{field}`" in reply["error"]
        assert reply["code"] == "invalid"
    assert ground.picture() == before


@pytest.mark.parametrize("cmd", COMMANDS)
def test_example_itself_is_taken(c: Peer, way: Way, cmd: str) -> None:
    """Else the refusals above would prove nothing."""
    ground = Ground(c, way)
    c.ok("KVSET", key=ground.key, value=1)
    if cmd == "CRONDELETE":
        c.ok("CRON", name=ground.name, queue=ground.queue, data=1, schedule="0 0 1 1 *")
    if cmd == "PROMOTE":
        ground.active = c.push(ground.queue, 1, delay=600_000)
    request = {"cmd": cmd, **ground.filled(COMMANDS[cmd].example)}
    if cmd == "PROMOTE":
        request["id"] = ground.active
    if cmd in ("WAITJOB", "GETCHILDREN"):
        assert c.refusal(**request, **({"timeout": 0} if cmd == "WAITJOB" else {}))["code"] in ("timeout", "not_found")
        return
    c.ok(**request)
    c.ask("CRONDELETE", name=ground.name)


@pytest.mark.parametrize("field", OPTIONS)
@pytest.mark.parametrize("cmd", ["PUSHB", "FLOW"])
def test_options_of_entries_refuse_alike(c: Peer, way: Way, cmd: str, field: str) -> None:
    """The bad entry is named by its place, and none of the good ones before and behind it is stored."""
    ground = Ground(c, way)
    before = ground.picture()
    good = {"queue": ground.far, "data": 1} if cmd == "FLOW" else {"data": 1}
    for value in bad_values(OPTIONS[field], way.codec, required=False):
        entries = [good, {**good, field: value}, good]
        fields = {"children": entries, "data": 1} if cmd == "FLOW" else {"jobs": entries}
        reply = refused(c.ask(cmd, queue=ground.queue, **fields), f"{field}={str(value)[:100]}")
        assert reply["code"] in ("invalid", "too_large"), reply
        assert names(reply["error"], field), reply
        assert "[1]" in reply["error"] or "[...]" in reply["error"], reply
    assert ground.picture() == before


@pytest.mark.parametrize("cmd", catalogue.KEYED)
def test_idempotency_keys_are_checked(c: Peer, way: Way, cmd: str) -> None:
    ground = Ground(c, way)
    before = ground.picture()
    example = ground.filled(COMMANDS[cmd].example)
    for value in catalogue.IDEMPOTENCY.bad:
        check_refused(c, {"cmd": cmd, **example, "idempotency_key": value}, "idempotency_key")
    assert ground.picture() == before


@pytest.mark.parametrize("req_id", [None, 5, "", "x" * 10_000, [1], {"a": 1}, True, 1.5])
def test_no_req_id_hinders(c: Peer, req_id: object) -> None:
    assert c.ask("STATS", reqId=req_id)["ok"] in (True, False)
    c.ok("STATS")


@pytest.mark.parametrize("cmd", [None, 1, 1.5, True, [], {}, "", "x" * 10_000, "PUSH\x00"])
def test_cmd_itself(c: Peer, cmd: object) -> None:
    c.raw(encoded(c.codec, {"cmd": cmd, "queue": "q"}))
    reply = refused(c.read())
    assert reply["code"] == "invalid"
    assert len(reply["error"]) < 2_000
    c.ok("STATS")


def test_catalogue_knows_every_command_and_field() -> None:
    """A command or a field that is added must be added to the catalogue too."""
    for struct in commands.ALL:
        tag = struct.__struct_config__.tag
        assert tag in COMMANDS, f"{tag} is not in the catalogue"
        known = {*COMMANDS[tag].fields(), *catalogue.ELSEWHERE}
        assert set(struct.__struct_encode_fields__) <= known, tag
