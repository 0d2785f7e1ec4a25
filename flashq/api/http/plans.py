"""Rows of the table, made ready: how a request becomes a command and its reply an answer."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flashq.api.http import fields, shows
from flashq.api.http.failures import HttpFailure
from flashq.api.http.table import Route
from flashq.api.statuses import status_of
from flashq.api.ways import Command
from flashq.protocol.slots import slot_of_queue
from flashq.transport.forwarding import PULL_WAIT_MS, SHOW_JOB, WAITS

_encode: Final = msgspec.json.Encoder().encode
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_BY_QUEUE: Final = frozenset({"PUSH", "PUSHB", "PULLB"})
_BY_ID: Final = frozenset({"ACK", "FAIL"})
TRACED: Final = frozenset({"PUSH", "PUSHB", "FLOW"})
"""Commands that make jobs, which belong to the trace of their request."""
_UNPARSABLE: Final = "Invalid: "
NOTHING_SAID: Final = b'{"ok":true,"data":null}'


class _Refusal(msgspec.Struct):
    error: str = ""
    code: str = ""


refusal_of: Final = msgspec.json.Decoder(_Refusal).decode


class Plan:
    """One row."""

    def __init__(self, route: Route) -> None:
        self.route = route
        types = fields.TYPES[route.command]
        self._types = types
        self.names: tuple[str, ...] = tuple(_PARAMETER.findall(route.path))
        self._path = [(self._field(name), types[self._field(name)]) for name in self.names]
        self._query = {name: types[self._field(name)] for name in route.query}
        self._tag = route.command
        need = {key: types[self._field(key)] for key in route.need}
        may = {key: types[self._field(key)] for key in route.may}
        self.reads_body = bool(need or may)
        self.needs_body = bool(need)
        self._decode = msgspec.json.Decoder(fields.body_type(route.command.title(), need, may)).decode

    def _field(self, key: str) -> str:
        return self.route.renamed.get(key, key)

    def command(
        self, params: Sequence[bytes], query: bytes, body: bytes, key: str | None = None, trace: str | None = None
    ) -> Command:  # fmt: skip
        """The command that a request means. `key`, `trace`: of the headers Idempotency-Key, traceparent.

        Raises HttpFailure.
        """
        values = self.values(params, query, body)
        if trace is not None and self._tag in TRACED:
            values.setdefault("trace", trace)
        if key is not None:
            values["idempotency_key"] = key
        return self.placed(values)

    def values(self, params: Sequence[bytes], query: bytes, body: bytes) -> dict[str, Any]:
        """The fields of the command, in order. What the path says wins. Raises HttpFailure."""
        values: dict[str, Any] = {"cmd": self._tag}
        if body and self.reads_body:
            try:
                found = fields.values_of(self._decode(fields.sound(body)))
            except fields.BAD as error:
                raise fields.malformed(error) from None
            renamed = self.route.renamed
            values.update((renamed.get(name, name), value) for name, value in found.items())
        if query and self._query:
            values.update(fields.from_query(query, self._query))
        for (name, kind), segment in zip(self._path, params, strict=True):
            values[name] = fields.from_text(name, fields.from_segment(segment), kind)
        return values

    def placed(self, values: dict[str, Any]) -> Command:
        """The command of these fields, and where it goes."""
        slot = None
        if self._tag in _BY_ID:
            slot = values["id"] & 1023
        elif self._tag in _BY_QUEUE:
            slot = slot_of_queue(values["queue"])
        wait_ms = 0
        if self._tag in WAITS:
            wait_ms = values.get("timeout", WAITS[self._tag])
        return Command(_encode(values), slot, wait_ms)

    def follow_up(self, reply: bytes) -> Command | None:
        """What has yet to be asked before this reply can be an answer."""
        return None

    def joined(self, reply: bytes, more: bytes) -> bytes:
        """A reply and that to its `follow_up`, as one."""
        raise AssertionError("nothing was asked after it")

    def answer(self, reply: bytes, *, real: bool) -> tuple[int, bytes]:
        """Status and body, from a reply. Raises HttpFailure for a command of the wrong shape."""
        if reply.startswith(b'{"ok":true'):
            if self.route.show is shows.nothing:
                return 200, NOTHING_SAID
            return 200, shows.answer(reply, self.route.show)
        refusal = refusal_of(reply)
        if refusal.code == "not_found" and self.route.missing:
            return 200, b'{"ok":true,"data":%b}' % self.route.missing.encode()
        if refusal.code == "invalid" and refusal.error.startswith(_UNPARSABLE):
            raise HttpFailure(422, refusal.error)
        words = self.route.words.get(refusal.code)
        if words is not None:
            reply = _encode({"ok": False, "error": words, "code": refusal.code})
        return status_of(refusal.code, real=real), reply.rstrip(b"\n")


class PushPlan(Plan):
    """PUSH: a job with nothing but data is spliced together, and the reply shows the job."""

    def command(
        self, params: Sequence[bytes], query: bytes, body: bytes, key: str | None = None, trace: str | None = None
    ) -> Command:  # fmt: skip
        """As `Plan.command`."""
        if key is None and trace is None and body:
            try:
                data = _plain(fields.sound(body)).data
            except fields.BAD:
                return super().command(params, query, body, key, trace)
            queue = fields.from_segment(params[0])
            frame = b'{"cmd":"PUSH","queue":%b,"data":%b}' % (_encode(queue), data)
            return Command(frame, slot_of_queue(queue), 0, SHOW_JOB)
        return super().command(params, query, body, key, trace)

    def placed(self, values: dict[str, Any]) -> Command:
        """As `Plan.placed`."""
        values.setdefault("data", None)
        return Command(_encode(values), slot_of_queue(values["queue"]), 0, SHOW_JOB)

    def follow_up(self, reply: bytes) -> Command | None:
        """The job itself, where the shard that pushed has it not: a custom id may name a job of another."""
        found = _left_id(reply)
        return None if found is None else Command(b'{"cmd":"GETJOB","id":%b}' % found[1], int(found[1]) & 1023)

    def joined(self, reply: bytes, more: bytes) -> bytes:
        """The reply with the job in place of its id; as it was if the job is no more, or its shard does not answer."""
        fields = shows.decode_fields(more)
        if "job" not in fields or bytes(fields["job"]) == b"null":
            return reply
        return _SHOWN + shows.pushed(fields) + _END

    def answer(self, reply: bytes, *, real: bool) -> tuple[int, bytes]:
        """As `Plan.answer`."""
        if reply.startswith(_SHOWN) and reply.endswith(_END):
            return 200, b'{"ok":true,"data":%b}' % reply[len(_SHOWN) : -len(_END)]
        return super().answer(reply, real=real)


class _PlainBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    data: msgspec.Raw


_plain: Final = msgspec.json.Decoder(_PlainBody).decode
_left_id: Final = re.compile(rb'\{"ok":true,"id":([0-9]+)[,}]').match
_SHOWN: Final = b'{"ok":true,"job":'
_MANY: Final = b'{"ok":true,"jobs":'
_DATA: Final = b'{"ok":true,"data":'
_END: Final = b',"success":true}\n'


class PullPlan(Plan):
    """PULLB, or PULL where one job is asked for."""

    def placed(self, values: dict[str, Any]) -> Command:
        """As `Plan.placed`. Raises HttpFailure for a count of none."""
        count = values.get("count", 1)
        if count == 0:
            raise HttpFailure(400, "Invalid: `count` is 0, allowed is a whole number from 1")
        if count == 1:
            values["cmd"] = "PULL"
            values.pop("count", None)
        return Command(_encode(values), slot_of_queue(values["queue"]), values.get("timeout", PULL_WAIT_MS))

    def answer(self, reply: bytes, *, real: bool) -> tuple[int, bytes]:
        """As `Plan.answer`: what a shard gives out is only jobs, so they are cut out unseen."""
        if reply.endswith(_END):
            if reply.startswith(_MANY):
                # Cut out by a view, so that megabytes are copied once.
                return 200, b"".join((_DATA, memoryview(reply)[len(_MANY) : -len(_END)], b"}"))
            if reply.startswith(_SHOWN) and not reply.startswith(b"null", len(_SHOWN)):
                return 200, b'{"ok":true,"data":[%b]}' % reply[len(_SHOWN) : -len(_END)]
        return super().answer(reply, real=real)


_PLANS: Final[dict[str, type[Plan]]] = {"PUSH": PushPlan, "PULLB": PullPlan}


def plan_of(route: Route) -> Plan:
    """A row, made ready."""
    return _PLANS.get(route.command, Plan)(route)
