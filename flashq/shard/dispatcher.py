"""Commands, carried out by the engine of this process, or sent to the shard that owns what they name.

The frequent commands are spelled out; everything else is a row of a table: command -> what it does, as the fields of
its reply. Nothing here waits, and nothing of a refused request is applied.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from flashq.access.access import STRANGER, Access
from flashq.access.showing import show_token
from flashq.engine import ack as acks
from flashq.engine import control, queries, retry
from flashq.engine.deliveries import Delivery, Lone, Part
from flashq.engine.engine import Engine
from flashq.engine.idempotency import digest_of, remember
from flashq.engine.leases import Lease
from flashq.engine.lone_jobs import ack_lone, give_lone
from flashq.engine.pull import deliver, end_wait, serve, wait
from flashq.engine.push import Entries, check_batch_size, push_jobs, push_plain, push_plain_batch
from flashq.engine.queues import Queue
from flashq.engine.validation import check_data_size, check_duration, check_queue_name
from flashq.engine.waits import give_up_waits_of, withdraw_waits
from flashq.errors import FlashqError, InvalidArgument, MalformedFrame, OutOfMemory, Unauthenticated, UnknownCommand
from flashq.protocol import commands as c
from flashq.protocol import replies
from flashq.protocol.codec import check_text, payload_of
from flashq.protocol.commands_common import CommonPushBatch, decoded_push_batch, may_be_common
from flashq.protocol.dispatch import Link, Ticket
from flashq.protocol.given_back import leased_in
from flashq.protocol.places import explained_in
from flashq.protocol.repeated_keys import PUSH_BYTES, batch_may_repeat, check_keys, ids_may_repeat
from flashq.protocol.slots import slot_of_queue
from flashq.protocol.web_targets import NOTHING_ELSE, Allowed
from flashq.shard.control_verbs import answer_wait
from flashq.shard.dependency_access import may_depend
from flashq.shard.families import VERBS
from flashq.shard.feed import Feed
from flashq.shard.gate import Gates
from flashq.shard.guard import Guard
from flashq.shard.hook_desk import HookDesk
from flashq.shard.naming import Naming
from flashq.shard.ports import Elsewhere, Totals
from flashq.shard.push_lines import push_lines
from flashq.shard.pushing import push, push_common, pushed_many, pushed_one, within
from flashq.shard.rendering import Renderer, view_of
from flashq.shard.verbs import Request, Route, Verb, by_id, by_queue
from flashq.transport.event_desk import EventDesk
from flashq.transport.forwarding import check_ack_batch, shard_name

if TYPE_CHECKING:
    from flashq.shard.slot_moves import SlotMoves

log = structlog.get_logger()
PULL_WAIT_MS: Final = 60_000
_BAD: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class PullTicket:
    """Where a waiting pull's jobs go."""

    __slots__ = ("batch", "codec", "gid", "held", "link", "req_id", "takes_jobs")

    def __init__(self, held: Ticket, link: Link, codec: int, req_id: bytes, batch: bool) -> None:
        self.held = held
        self.gid = link.gid
        self.link = link
        self.codec = codec
        self.req_id = req_id
        self.batch = batch
        self.takes_jobs = held.takes_jobs


def _unheard(process: str, kind: int, payload: bytes) -> None:
    """A dispatcher without other processes has nobody to tell."""


class ShardDispatcher:
    """The `Dispatcher` of a shard."""

    def __init__(
        self, engine: Engine, *, shard: int, shards: int, owner_of: Callable[[int], int], elsewhere: Elsewhere,
        totals: Totals, access: Access, notify: Callable[[str, int, bytes], Any] = _unheard,
        allowed: Allowed = NOTHING_ELSE,
    ) -> None:  # fmt: skip
        """`allowed`: where webhooks may go beside public addresses."""
        self.engine = engine
        self.shard = shard
        self.shards = shards
        self.owner_of = owner_of
        self.elsewhere = elsewhere
        self.totals = totals
        self.access = access
        self.guard = Guard(access, engine)
        self._trusted = access.trusted
        """As of `access`, one look nearer: it is asked for every request."""
        access.on_change.append(self._trust)
        self.refusal: str = ""
        """Why pushes are refused just now; empty: they are not."""
        self.publish: Callable[[], None] = _nothing
        """Writes this shard's counters and gauges, so that what is read of them is of now; set by the loop."""
        self.when_told: Callable[[int, Iterable[int], Callable[[], object]], None] = _told_at_once
        """`(source, targets, done)`: see Postman, who sets it."""
        self.wake: Callable[[], None] = _nothing
        """Begins a tick if none is open: for what comes by itself; set by the loop."""
        self.desk = EventDesk(
            shard_name(shard), shard=shard, owner_of_queue=lambda name: owner_of(slot_of_queue(name)),
            ask_shard=elsewhere.ask_shard, own_changed=self._own_changed,
        )  # fmt: skip
        self.feed = Feed(self, notify)
        self.hook_desk = HookDesk(self, notify)
        self.allowed = allowed
        self.renderer = Renderer()
        self._keyed: dict[tuple[str, str], _Probe] = {}
        """Requests with an idempotency key that are under way."""
        self._queues = engine.queues
        self._common_as_limited = within(engine.limits)
        self.naming = Naming(self)
        self.gates = Gates(self.submit, elsewhere.req_id_of)
        """Connections whose next request waits until one before it is carried out."""

        self.moves: SlotMoves | None = None
        """Slots that come and go; set where they may."""
        self.questions_wait: Callable[[Callable[[], Any]], Any] | None = None
        """While a slot is on its way: takes what other shards ask, to be carried out afterwards."""

    def has_keyed(self, slot: int) -> bool:
        """Whether a request with an idempotency key that concerns this slot is under way."""
        return any(probe.slot == slot for probe in self._keyed.values())

    def slot_came(self) -> None:
        """A slot is here that was not: what listens to its queues, and what is to be delivered, is looked at."""
        self._own_changed()
        self.hook_desk.look()

    def _trust(self) -> None:
        self._trusted = self.access.trusted

    def _own_changed(self) -> None:
        self.feed.refresh()

    # -- one request

    def submit(self, link: Link, frame: bytes) -> None:
        """Carry out one whole request. Faults are answered."""
        if self.gates.lines and link.gid in self.gates.lines:
            self.gates.hold_back(link, frame)
            return
        if link.principal not in self._trusted:
            self._submit_restricted(link, frame)
            return
        codec = link.codec
        try:
            command = c.fast_text(frame) if codec == 0 else c.fast_binary(frame)
        except _BAD:
            self._submit_full(link, frame, codec)
            return
        try:
            _FAST[type(command)](self, link, command, frame, codec)
        except FlashqError as e:
            self._refuse(link, codec, e, command.reqId)
        except Exception:  # a bug of ours must not end everybody's connections: logged in full, answered `internal`
            self._own_fault(link, codec, command)

    def _submit_restricted(self, link: Link, frame: bytes) -> None:
        """As `submit`, for who may not do everything: looked at before it is carried out."""
        if not link.principal:
            self._knock(link, frame)
            return
        codec = link.codec
        try:
            command = c.fast_text(frame) if codec == 0 else c.fast_binary(frame)
        except _BAD:
            self._submit_full(link, frame, codec)
            return
        try:
            self.guard.check(link.principal, command)
            _FAST[type(command)](self, link, command, frame, codec)
        except FlashqError as e:
            self._refuse(link, codec, e, command.reqId)
        except Exception:  # as in `submit`
            self._own_fault(link, codec, command)

    def submit_lines(self, link: Link, whole: bytes, lines: list[bytes]) -> bool:
        """Carry out all of them at once, if they are pushes to one queue and nothing stands against any."""
        if self.refusal or self.gates.lines or link.principal not in self._trusted:
            return False
        return push_lines(self.engine, link, whole, lines)

    def _submit_full(self, link: Link, frame: bytes, codec: int) -> None:
        try:
            if self._common_as_limited and may_be_common(frame):
                command = decoded_push_batch(frame, codec)
            else:
                command = c.FULL[codec](frame)  # type: ignore[index]
            if codec == 0:
                check_text(frame)
        except (*_BAD, MalformedFrame) as e:
            self._refuse(link, codec, explained_in(frame, codec, e), self.elsewhere.req_id_of(frame, codec))
            return
        try:
            check_keys(frame, codec)
            self._carry_out(link, command, frame, codec)
        except FlashqError as e:
            self._refuse(link, codec, e, command.reqId)
        except Exception:  # as in `submit`
            self._own_fault(link, codec, command)

    def _own_fault(self, link: Link, codec: int, command: Any) -> None:
        """A bug of ours: the log has it in full, the client gets an answer, the connection goes on."""
        tag = type(command).__struct_config__.tag
        log.exception("a command failed", command=tag, shard=self.shard)
        body = replies.failure_text(codec, f"Internal fault while carrying out {tag}; the log has it", "internal")
        link.reply(replies.with_req_id(codec, body, command.reqId))

    def _carry_out(self, link: Link, command: Any, frame: bytes, codec: int) -> None:
        if link.principal not in self._trusted:
            self.guard.check(link.principal, command)
        route = ROUTES.get(type(command))
        if route is not None and (owner := self.owner_of(route(command))) != self.shard:
            self.elsewhere.forward(owner, link, frame, command)
            return
        if link.principal not in self._trusted and not may_depend(self, link, command, frame):
            return
        key = command.idempotency_key
        if key is None or (type(command) is c.AckBatch and not self._owns_all(command.ids)):
            # A batch over several shards takes its key along in each of its parts.
            carry_out = _FULL.get(type(command))
            if carry_out is None:
                raise UnknownCommand(f"unknown variant `{type(command).__struct_config__.tag}`")
            carry_out(self, link, command, frame, codec)
            return
        self._once(link, command, frame, codec, key)

    def _once(self, link: Link, command: Any, frame: bytes, codec: int, key: str) -> None:
        """The first reply again to a key that was used; else the reply is kept under it."""
        kind = type(command)
        if kind not in KEYED:
            command.idempotency_key = None
            self._carry_out(link, command, frame, codec)
            return
        if not key or len(key) > 512:
            raise InvalidArgument("invalid value: `idempotency_key` must have 1 to 512 characters")
        where = next((str(v) for n in _SCOPES if (v := getattr(command, n, None)) is not None), "")
        scope = f"{link.principal}\0{kind.__struct_config__.tag}\0{where}\0{codec}"
        req_id, command.reqId = bytes(command.reqId), c.ABSENT
        digest = digest_of((msgspec.msgpack.encode(command),))
        engine = self.engine
        body = engine.answers.find(scope, key, digest, engine.now_ms)
        if body is not None:
            link.reply(replies.with_req_id(codec, body, req_id))
            return
        first = self._keyed.get((scope, key))
        if first is not None:
            first.copy(link, digest, req_id)
            return
        route = ROUTES.get(kind)
        probe = _Probe(self, link, (scope, key), digest, req_id, route(command) if route is not None else 0)
        try:
            _FULL[kind](self, probe, command, frame, codec)
        finally:
            command.reqId = msgspec.Raw(req_id) if req_id else c.ABSENT

    def _refuse(self, link: Link, codec: int, error: FlashqError, req_id: bytes | msgspec.Raw) -> None:
        link.reply(replies.with_req_id(codec, replies.failure(codec, error), req_id))

    def _say(self, link: Link, codec: int, body: bytes, command: Any) -> None:
        if command.reqId is not c.ABSENT:
            body = replies.with_req_id(codec, body, command.reqId)
        link.reply(body)

    # -- who is there

    def _knock(self, link: Link, frame: bytes) -> None:
        """Before a token was shown only AUTH and PING are looked at."""
        codec = link.codec
        cmd, token = self.elsewhere.knock(frame, codec)
        req_id = self.elsewhere.req_id_of(frame, codec)
        if cmd == "PING":
            link.reply(replies.with_req_id(codec, replies.ok(codec, {"pong": True}), req_id))
        elif cmd == "AUTH":
            show_token(self.access, link, token, bytes(req_id))
        else:
            self._refuse(link, codec, Unauthenticated(STRANGER), req_id)

    def _auth(self, link: Link, command: c.Auth, frame: bytes, codec: int) -> None:
        if show_token(self.access, link, command.token, bytes(command.reqId)):
            self.ended(link)
            self.desk.gone(link)

    # -- where

    def _queue_for(self, link: Link, command: Any, frame: bytes) -> Queue | None:
        """The queue of a frequent command that is not known yet; None when the request went to its shard."""
        name = command.queue
        owner = self.owner_of(slot_of_queue(name))
        if owner != self.shard:
            self.elsewhere.forward(owner, link, frame, command)
            return None
        check_queue_name(name)
        return self.engine.queue(name)

    # -- push

    def _admit(self, queue: Queue) -> None:
        if self.refusal:
            raise OutOfMemory(self.refusal)
        if not queue.pushed_total:
            check_queue_name(queue.name)

    def _push_plain(self, link: Link, command: c.PlainPush, frame: bytes, codec: int) -> None:
        name = command.queue
        queue = self._queues.get(name)
        if queue is None or not queue.pushed_total or self.refusal:
            owner = self.owner_of(slot_of_queue(name))
            if owner != self.shard:
                self.elsewhere.forward(owner, link, frame, command)
                return
            check_queue_name(name)
            if self.refusal:
                raise OutOfMemory(self.refusal)
            queue = self.engine.queue(name)
        engine = self.engine
        if codec == 0:
            payload = bytes(command.data)
            if not frame.isascii() or 92 in frame:
                check_text(frame)
            if len(frame) - len(payload) - len(name) > PUSH_BYTES:
                check_keys(frame, codec)
        else:
            payload = payload_of(command.data, codec)
            if frame[0] > 0x83:
                check_keys(frame, codec)
        if len(payload) > engine.limits.data_bytes_max:
            check_data_size(engine.limits, payload)
        if engine.defaults.ttl_ms or engine.defaults.timeout_ms:
            job_id = push_jobs(engine, queue, codec, [(c.JobEntry(), payload)], frame)[0]
        else:
            job_id = push_plain(engine, queue, codec, payload, frame)
        body = b'{"ok":true,"id":%d,"success":true}\n' % job_id if codec == 0 else replies.ok(codec, {"id": job_id})
        if command.reqId is not c.ABSENT:
            body = replies.with_req_id(codec, body, command.reqId)
        link.reply(body)

    def _push(self, link: Link, command: c.Push, frame: bytes, codec: int) -> None:
        check_queue_name(command.queue)
        queue = self.engine.queue(command.queue)
        self._admit(queue)
        payload = payload_of(command.data, codec)
        command.data = c.NULL
        push(self, Request(link, command, frame, codec), queue, [(command, payload)], pushed_one)

    def _push_plain_batch(self, link: Link, command: c.PlainPushBatch, frame: bytes, codec: int) -> None:
        owner = self.owner_of(slot_of_queue(command.queue))
        if owner != self.shard:
            self.elsewhere.forward(owner, link, frame, command)
            return
        engine, jobs = self.engine, command.jobs
        check_queue_name(command.queue)
        check_batch_size(engine.limits, len(jobs))
        queue = engine.queue(command.queue)
        if self.refusal:
            raise OutOfMemory(self.refusal)
        if codec == 0:
            check_text(frame)
            payloads = [bytes(j.data) for j in jobs]
            if batch_may_repeat(frame, command.queue):
                check_keys(frame, codec)
        else:
            payloads = [payload_of(j.data, codec) for j in jobs]
            if frame[0] > 0x83:
                check_keys(frame, codec)
        if len(frame) > engine.limits.data_bytes_max:
            for k, payload in enumerate(payloads):
                check_data_size(engine.limits, payload, f"jobs[{k}]: Job data")
        if engine.defaults.ttl_ms or engine.defaults.timeout_ms:
            ids = push_jobs(engine, queue, codec, [(c.JobEntry(), p) for p in payloads], frame)
            ranges = [range(i, i + 1) for i in ids]
        else:
            ranges = push_plain_batch(engine, queue, codec, payloads, frame)
        every = list(ranges[0]) if len(ranges) == 1 else [i for r in ranges for i in r]
        if codec == 0:
            body = b'{"ok":true,"ids":%b,"success":true}\n' % str(every).replace(" ", "").encode()
        else:
            body = replies.ok(codec, {"ids": every})
        self._say(link, codec, body, command)

    def _push_batch(self, link: Link, command: c.PushBatch, frame: bytes, codec: int) -> None:
        queue, entries = self._batch_of(command, codec)
        push(self, Request(link, command, frame, codec), queue, entries, pushed_many)

    def _push_common_batch(self, link: Link, command: CommonPushBatch, frame: bytes, codec: int) -> None:
        queue, entries = self._batch_of(command, codec)
        limits = self.engine.limits
        if len(frame) > limits.data_bytes_max:
            for k, (_, payload) in enumerate(entries):
                check_data_size(limits, payload, f"jobs[{k}]: Job data")
        push_common(self, Request(link, command, frame, codec), queue, entries)

    def _batch_of(self, command: Any, codec: int) -> tuple[Queue, Entries]:
        """The queue and the jobs of a PUSHB. Raises what the request as a whole is refused with."""
        check_queue_name(command.queue)
        jobs = c.entries_of(command)
        check_batch_size(self.engine.limits, len(jobs))
        queue = self.engine.queue(command.queue)
        self._admit(queue)
        payloads = [bytes(j.data) for j in jobs] if codec == 0 else [payload_of(j.data, codec) for j in jobs]
        for job in jobs:
            job.data = c.NULL  # it pins the whole frame
        return queue, list(zip(jobs, payloads, strict=True))

    # -- pull

    def _pull_plain(self, link: Link, command: Any, frame: bytes, codec: int) -> None:
        queue = self._queues.get(command.queue) or self._queue_for(link, command, frame)
        if queue is None:
            return
        if (frame[0] - 0x80 if codec else frame.count(b":")) > (2 if command.timeout is None else 3):
            check_keys(frame, codec)
        limits = self.engine.limits
        if (
            type(command) is c.PlainPull and queue.top is not None and not queue.waiters and link.takes_jobs()
            and (command.timeout is None or command.timeout <= limits.duration_ms_max)
        ):  # fmt: skip
            lone = give_lone(self.engine, queue, limits.lease_ms, 0)
            if lone is not None:
                body = self.renderer.one(lone, codec)
                if command.reqId is not c.ABSENT:
                    body = replies.with_req_id(codec, body, command.reqId)
                link.reply(body)
                return
        self._give(link, queue, command, codec, None, False)

    def _pull(self, link: Link, command: Any, frame: bytes, codec: int) -> None:
        limits = self.engine.limits
        if command.lease_ms is not None:
            check_duration(limits, "lease_ms", command.lease_ms)
        queue = self.engine.queue(command.queue)
        self._give(link, queue, command, codec, command.lease_ms or None, bool(command.release_on_disconnect))

    def _give(self, link: Link, queue: Queue, command: Any, codec: int, lease_ms: int | None, tied: bool) -> None:
        engine = self.engine
        batch = type(command) in _BATCH_PULLS
        timeout = command.timeout
        if timeout is None:
            timeout = PULL_WAIT_MS
        elif timeout > engine.limits.duration_ms_max:
            check_duration(engine.limits, "timeout", timeout)
        count = min(command.count, engine.limits.max_batch) if batch else 1
        takes = link.takes_jobs()
        if (takes and queue.waiting and not (queue.waiters and _others_wait(queue))) or queue.later:
            delivery = deliver(engine, queue, count, lease_ms=lease_ms, gid=link.gid if tied else 0) if takes else None
            if delivery is not None:
                render = self.renderer.many if batch else self.renderer.one
                self._say(link, codec, render(delivery, codec), command)
                return
        if timeout == 0 or (not takes and _is_over(link)):
            self._say(link, codec, (replies.NO_JOBS if batch else replies.NO_JOB)[codec], command)
            return
        req_id = bytes(command.reqId)
        held = link.hold(ordered=not req_id or req_id in _NO_REQ_ID)
        ticket = PullTicket(held, link, codec, req_id, batch)
        wait(engine, queue, link.gid, ticket, count if batch else 0, timeout, lease_ms, tied)

    def answer_woken(self) -> None:
        """Pulls that waited have jobs, or nothing after their time; jobs that were waited for have ended."""
        engine = self.engine
        if engine.ended_waits:
            ended, engine.ended_waits = engine.ended_waits, []
            for wait, outcome in ended:
                answer_wait(wait, outcome)
        while engine.woken:
            woken, engine.woken = engine.woken, []
            for waiter, delivery in woken:
                ticket = waiter.ticket
                codec = ticket.codec
                if delivery is None:
                    body = (replies.NO_JOBS if ticket.batch else replies.NO_JOB)[codec]
                else:
                    body = (self.renderer.many if ticket.batch else self.renderer.one)(delivery, codec)
                if ticket.req_id:
                    body = replies.with_req_id(codec, body, ticket.req_id)
                if not ticket.held.reply(body) and delivery is not None:
                    self._take_back(delivery)

    def _take_back(self, delivery: Delivery | Lone) -> None:
        """Jobs of a pull whose client has gone go back, no attempt counted."""
        for part in delivery.parts:
            for job_id in part.ids if isinstance(part, Part) else (part.id,):
                seen = queries.find(self.engine, job_id)
                if seen is not None and seen.lease is not None and seen.lease.token == delivery.token:
                    retry.release(self.engine, seen.lease, crash=False)

    def given_back(self, token: int, job_ids: Iterable[int]) -> None:
        """Some jobs of a delivery were not handed on: those go back, no attempt counted."""
        retry.release_some(self.engine, token, job_ids)

    # -- ack, fail

    def _ack_plain(self, link: Link, command: c.PlainAck, frame: bytes, codec: int) -> None:
        job_id = command.id
        if not self.engine.owns[job_id & 1023]:
            self.elsewhere.forward(self.owner_of(job_id & 1023), link, frame, command)
            return
        result = command.result
        if (frame[0] - 0x80 if codec else frame.count(b":")) > (2 if command.lease is None else 3):
            check_keys(frame, codec)
        if result is c.ABSENT:
            if not ack_lone(self.engine, job_id, command.lease):
                acks.ack(self.engine, job_id, command.lease, None, codec)
        else:
            if codec == 0:
                check_text(frame)
            acks.ack(self.engine, job_id, command.lease, self._result(result, codec), codec)
        body = replies.OK[codec]
        if command.reqId is not c.ABSENT:
            body = replies.with_req_id(codec, body, command.reqId)
        link.reply(body)

    def _result(self, result: msgspec.Raw, codec: int) -> bytes | None:
        """A result as it is kept; null is none."""
        raw = bytes(result)
        if raw in (b"", b"null", b"\xc0"):
            return None
        check_data_size(self.engine.limits, raw, "Result")
        return payload_of(result, codec)

    def _ack(self, link: Link, command: c.Ack, frame: bytes, codec: int) -> None:
        acks.ack(self.engine, command.id, command.lease, self._result(command.result, codec), codec)
        self._say(link, codec, replies.OK[codec], command)

    def _ack_plain_batch(self, link: Link, command: Any, frame: bytes, codec: int) -> None:
        ids = command.ids
        if frame[0] > 0x82 if codec else ids_may_repeat(frame):
            check_keys(frame, codec)
        owns = self.engine.owns
        if not ids or (owns[ids[0] & 1023] and (acks.are_neighbours(ids) or all(owns[i & 1023] for i in ids))):
            self._ack_here(link, command, codec, None, None)
        else:
            self._check_batch(command)
            self.elsewhere.split_acks(link, command, codec)

    def _owns_all(self, ids: list[int]) -> bool:
        owns = self.engine.owns
        return all(owns[i & 1023] for i in ids)

    def _ack_batch(self, link: Link, command: c.AckBatch, frame: bytes, codec: int) -> None:
        self._check_batch(command)
        if not self._owns_all(command.ids):
            self.elsewhere.split_acks(link, command, codec)
            return
        results = None
        if command.results is not None:
            results = [self._result(r, codec) for r in command.results]
        self._ack_here(link, command, codec, command.leases, results)

    def _check_batch(self, command: Any) -> None:
        check_ack_batch(command, self.engine.limits.max_batch)

    def _ack_here(self, link: Link, command: Any, codec: int, leases: Any, results: Any) -> None:
        ids = command.ids
        if len(ids) > self.engine.limits.max_batch:
            self._check_batch(command)
        refused = acks.ack_batch(self.engine, ids, leases, results, codec)
        n = len(ids) - len(refused)
        if codec == 0 and not refused:
            self._say(link, codec, b'{"ok":true,"ids":[%d],"count":%d,"success":true}\n' % (n, n), command)
            return
        self._say(link, codec, replies.ok(codec, acked_fields(ids, refused)), command)

    def _fail(self, link: Link, command: c.Fail, frame: bytes, codec: int) -> None:
        retry.fail(self.engine, command.id, command.lease, command.error)
        self._say(link, codec, replies.OK[codec], command)

    def _heartbeat(self, link: Link, command: c.Heartbeat, frame: bytes, codec: int) -> None:
        job_id = command.id if command.id is not None else command.job_id
        assert job_id is not None
        retry.heartbeat(self.engine, job_id, command.lease, link.gid)
        self._say(link, codec, replies.OK[codec], command)

    # -- queries and control

    def _get_job(self, link: Link, command: c.GetJob, frame: bytes, codec: int) -> None:
        seen = queries.find(self.engine, command.id)
        state = queries.state_of(self.engine, command.id)
        view = view_of(seen, codec) if seen is not None else None
        self._say(link, codec, replies.ok(codec, {"job": view, "state": state}), command)

    def _get_state(self, link: Link, command: c.GetState, frame: bytes, codec: int) -> None:
        state = queries.state_of(self.engine, command.id)
        self._say(link, codec, replies.ok(codec, {"id": command.id, "state": state}), command)

    def _get_result(self, link: Link, command: c.GetResult, frame: bytes, codec: int) -> None:
        seen = queries.find(self.engine, command.id)
        view = view_of(seen, codec) if seen is not None and seen.done is not None else None
        result = view.result if view is not None else None
        self._say(link, codec, replies.ok(codec, {"id": command.id, "result": result}), command)

    def _count(self, link: Link, command: c.Count, frame: bytes, codec: int) -> None:
        queue = self._queues.get(command.queue)
        n = queue.waiting + queue.delayed if queue is not None else 0
        self._say(link, codec, replies.ok(codec, {"count": n}), command)

    def _pause(self, link: Link, command: c.Pause, frame: bytes, codec: int) -> None:
        control.pause(self.engine, command.queue)
        self._say(link, codec, replies.OK[codec], command)

    def _resume(self, link: Link, command: c.Resume, frame: bytes, codec: int) -> None:
        control.resume(self.engine, command.queue)
        self._say(link, codec, replies.OK[codec], command)

    def _stats(self, link: Link, command: c.Stats, frame: bytes, codec: int) -> None:
        self.publish()
        self._say(link, codec, replies.ok(codec, self.totals.stats()), command)

    def _list_queues(self, link: Link, command: c.ListQueues, frame: bytes, codec: int) -> None:
        self.publish()
        self._say(link, codec, replies.ok(codec, {"queues": self.totals.queues()}), command)

    def _ping(self, link: Link, command: c.Ping, frame: bytes, codec: int) -> None:
        self._say(link, codec, replies.ok(codec, {"pong": True}), command)

    # -- clients that go

    def ended(self, link: Link) -> None:
        """The client sends nothing more: its waiting pulls get nothing."""
        self.input_ended(link.gid)
        self.elsewhere.ended(link.gid)

    def remote_ended(self, gid: int) -> None:
        """As `ended`, for a client of another process, of whose requests some may have gone on from here."""
        self.gates.end(gid)
        self.input_ended(gid)
        self.elsewhere.ended(gid)

    def remote_gone(self, gid: int) -> None:
        """As `gone`, for a client of another process."""
        self.gates.end(gid)
        self._connection_gone(gid)
        self.elsewhere.gone(gid)

    def input_ended(self, gid: int) -> None:
        """As `ended`, for what is here."""
        for waiter in list(self.engine.waits_of.get(gid, ())):
            end_wait(self.engine, waiter)
            self.engine.woken.append((waiter, None))
        give_up_waits_of(self.engine, gid)

    def holder_gone(self, gid: int) -> None:
        """The process that held a connection died: its waits end at once, what is tied to it may be claimed again."""
        engine = self.engine
        self.gates.end(gid)
        self.elsewhere.gone(gid)
        for waiter in list(engine.waits_of.get(gid, ())):
            end_wait(engine, waiter)
        withdraw_waits(engine, gid)
        retry.start_grace_of(engine, gid)

    def undelivered_body(self, body: bytes) -> None:
        """A reply found nobody: the jobs that it gives out go back, no attempt counted. Of any other reply nothing is.

        Found by their ids, so that it costs nothing that others hold leases. Jobs of another shard go back there.
        """
        leases: dict[int, Lease] = {}
        for job_id, token in leased_in(body):
            if not self.engine.owns[job_id & 1023]:
                self.elsewhere.give_back((job_id,), token)
                continue
            seen = queries.find(self.engine, job_id)
            if seen is not None and seen.lease is not None and seen.lease.token == token:
                leases[id(seen.lease)] = seen.lease
        for lease in leases.values():
            retry.release(self.engine, lease, crash=False)

    def gone(self, link: Link) -> None:
        """The client left."""
        self.desk.gone(link)
        self._connection_gone(link.gid)
        self.elsewhere.gone(link.gid)

    def _connection_gone(self, gid: int) -> None:
        retry.connection_gone(self.engine, gid)
        if self.moves is not None:
            self.moves.connection_gone(gid)

    def takes_jobs_again(self, link: Link) -> None:
        """Its output was backed up: what became ready meanwhile may be for it."""
        self.elsewhere.goes_on(link.gid)
        for waiter in list(self.engine.waits_of.get(link.gid, ())):
            serve(self.engine, waiter.queue)


class _Probe:
    """Stands before the link of a keyed request: its reply is kept under the key, and copies of it get the same."""

    local = False

    def __init__(
        self, here: ShardDispatcher, link: Link, key: tuple[str, str], digest: bytes, req_id: bytes, slot: int
    ) -> None:
        self._here = here
        self._link = link
        self._key = key
        self._digest = digest
        self._req_id = req_id
        self.slot = slot
        self._held: Ticket | None = None
        self._kept = False
        self._copies: list[tuple[Ticket, bytes, int]] = []
        self.gid = link.gid
        self.codec = link.codec
        self.principal = link.principal
        self.wrong_tokens = 0
        self.address = ""

    def keep(self, body: bytes) -> None:
        """Faults are not kept: sent again, the request may succeed."""
        if replies.is_ok(self.codec, body) and not self._kept:
            self._kept = True
            scope, key = self._key
            remember(self._here.engine, scope, key, self._digest, body, self.slot)

    def copy(self, link: Link, digest: bytes, req_id: bytes) -> None:
        """The same key again, while the first is under way: it waits for the same reply."""
        if digest != self._digest:
            raise InvalidArgument(
                f"invalid value: `idempotency_key` '{self._key[1][:64]}' was used for another request"
            )
        self._copies.append((link.hold(ordered=not req_id or req_id in _NO_REQ_ID), req_id, link.gid))
        self._here.gates.close(link.gid)

    def reply_later(self, body: bytes) -> bool:
        """The reply of a request that was held has come."""
        self._here.wake()
        del self._here._keyed[self._key]
        self.keep(body)
        for ticket, req_id, _ in self._copies:
            ticket.reply(replies.with_req_id(self.codec, body, req_id))
        assert self._held is not None
        taken = self._held.reply(replies.with_req_id(self.codec, body, self._req_id))
        for _, _, gid in self._copies:
            self._here.gates.open(gid)
        return taken

    # -- as a Link

    def forwarded_to(self, shard: int) -> None:
        """A request with a key goes nowhere else from here."""

    takes_events = False

    def push_event(self, body: bytes) -> None:
        raise AssertionError("keyed commands do not subscribe")

    def reply(self, body: bytes) -> None:
        self.keep(body)
        self._link.reply(replies.with_req_id(self.codec, body, self._req_id))

    def hold(self, *, ordered: bool) -> Ticket:
        self._held = self._link.hold(ordered=not self._req_id or self._req_id in _NO_REQ_ID)
        self._here._keyed[self._key] = self
        return _KeptTicket(self)

    def fatal(self, text: str, code: str) -> None:
        self._link.fatal(text, code)

    def takes_jobs(self) -> bool:
        return self._link.takes_jobs()


class _KeptTicket:
    __slots__ = ("_probe",)

    def __init__(self, probe: _Probe) -> None:
        self._probe = probe

    def takes_jobs(self) -> bool:
        return self._probe.takes_jobs()

    def keep(self, body: bytes) -> None:
        """The reply is known, and is given later."""
        self._probe.keep(body)

    def reply(self, body: bytes) -> bool:
        return self._probe.reply_later(body)


def acked_fields(ids: list[int], refused: list[tuple[int, FlashqError]]) -> dict[str, Any]:
    """The fields of a reply to ACKB."""
    n = len(ids) - len(refused)
    fields: dict[str, Any] = {"ids": [n], "count": n}
    missing = [ids[k] for k, e in refused if e.code == "not_found"]
    lost = [{"index": k, "id": ids[k], "error": str(e), "code": e.code} for k, e in refused if e.code != "not_found"]
    if missing:
        fields["not_found"] = missing
    if lost:
        fields["errors"] = lost
    return fields


def _others_wait(queue: Queue) -> bool:
    """Whether pulls that came earlier wait, and could be served: they come first."""
    return any(w.live and w.ticket.takes_jobs() for w in queue.waiters)


def _told_at_once(source: int, targets: Iterable[int], done: Callable[[], object]) -> None:
    """A dispatcher without a postman tells nobody."""
    done()


def _nothing() -> None:
    """A dispatcher without a loop has nothing to publish."""


def _is_over(link: Link) -> bool:
    return bool(getattr(link, "_ended", False))


_NO_REQ_ID: Final = (b"null", b"\xc0")
_BATCH_PULLS: Final = frozenset((c.PlainPullBatch, c.PullBatch))
_D = ShardDispatcher
_FAST: Final[dict[type[Any], Callable[..., None]]] = {
    c.PlainPush: _D._push_plain,
    c.PlainPushBatch: _D._push_plain_batch,
    c.PlainPull: _D._pull_plain,
    c.PlainPullBatch: _D._pull_plain,
    c.PlainAck: _D._ack_plain,
    c.PlainAckBatch: _D._ack_plain_batch,
}
_FULL: Final[dict[type[Any], Callable[..., None]]] = {
    c.Push: _D._push,
    c.PushBatch: _D._push_batch,
    CommonPushBatch: _D._push_common_batch,
    c.Pull: _D._pull,
    c.PullBatch: _D._pull,
    c.Ack: _D._ack,
    c.AckBatch: _D._ack_batch,
    c.Fail: _D._fail,
    c.Heartbeat: _D._heartbeat,
    c.GetJob: _D._get_job,
    c.GetState: _D._get_state,
    c.GetResult: _D._get_result,
    c.Count: _D._count,
    c.Pause: _D._pause,
    c.Resume: _D._resume,
    c.Stats: _D._stats,
    c.ListQueues: _D._list_queues,
    c.Ping: _D._ping,
    c.Auth: _D._auth,
}
ROUTES: Final[dict[type[Any], Route]] = {
    **dict.fromkeys((c.Push, c.PushBatch, CommonPushBatch, c.Pull, c.PullBatch, c.Count, c.Pause, c.Resume), by_queue),
    **dict.fromkeys((c.Ack, c.Fail, c.Heartbeat, c.GetJob, c.GetState, c.GetResult), by_id),
    **{kind: verb.route for kind, verb in VERBS.items() if verb.route is not None},
}
"""Command -> the slot it belongs to; what is not here any shard carries out."""
KEYED: Final = frozenset(
    (
        *(c.Push, c.PushBatch, CommonPushBatch, c.Ack, c.AckBatch, c.Fail, c.Pause, c.Resume),
        *(k for k, v in VERBS.items() if v.keyed),
    )
)
"""Commands that change something, for which an idempotency key counts."""
_SCOPES: Final = ("queue", "id", "job_id", "name", "key")
"""What a request is about, of which the first that it has is part of its key's scope."""


def _carried_out_by(verb: Verb) -> Callable[..., None]:
    def carry_out(self: ShardDispatcher, link: Link, command: Any, frame: bytes, codec: int) -> None:
        fields = verb.do(self, Request(link, command, frame, codec))
        if fields is not None:
            self._say(link, codec, replies.ok(codec, fields), command)

    return carry_out


_FULL.update({kind: _carried_out_by(verb) for kind, verb in VERBS.items()})
CARRIED_OUT: Final = frozenset(_FULL)
"""Every command that is carried out."""
