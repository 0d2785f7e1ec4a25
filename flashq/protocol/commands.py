"""The commands, as they travel: one struct a command, its fields, their types and bounds.

Wire spellings turn into ours here and nowhere else; aliases of existing clients are fields of their own,
folded into their twin by `folded`. Decoding is by two decoders. The fast one knows only the frequent
commands in their plain form and refuses unknown keys; what it refuses goes to the full one, whose
errors are the ones that are reported. So a plain job is known by having decoded at all: no comparison
of options, and no time spent on defaults (a batch of 1000: 0.15 instead of 0.27 us a job).

Integers are strict (no floats, strings, booleans). `null` stands for "absent" where a default exists.
"""

from typing import Any, Final, get_args

from msgspec import Raw, Struct, json, msgpack

from flashq.protocol import commands_jobs as j
from flashq.protocol import commands_queues as q
from flashq.protocol import commands_store as s
from flashq.protocol import commands_webhooks as w
from flashq.protocol.command_base import *  # noqa: F403
from flashq.protocol.command_base import ABSENT, NULL, U64, Command, JobEntry, JobOptions
from flashq.protocol.commands_jobs import *  # noqa: F403
from flashq.protocol.commands_queues import *  # noqa: F403
from flashq.protocol.commands_store import *  # noqa: F403
from flashq.protocol.commands_webhooks import *  # noqa: F403
from flashq.protocol.dispatch import Codec


class Push(JobOptions, tag_field="cmd", tag="PUSH", kw_only=True, gc=False):
    """Has what a `Command` has, but is an options struct first (one layout cannot have two bases)."""

    queue: str
    data: Raw
    reqId: Raw = ABSENT
    idempotency_key: str | None = None


class PushBatch(Command, tag="PUSHB", kw_only=True):
    """`trace`: of those jobs that name none themselves."""

    queue: str
    jobs: list[JobEntry]
    trace: str | None = None


def entries_of(command: Any) -> list[Any]:
    """The jobs of a PUSH or PUSHB in full form, with what they have in common."""
    if not isinstance(command, PushBatch):
        return list(command.jobs) if hasattr(command, "jobs") else [command]
    if command.trace is not None:
        for job in command.jobs:
            if job.trace is None:
                job.trace = command.trace
    return list(command.jobs)


class Pull(Command, tag="PULL", kw_only=True, gc=False):
    queue: str
    timeout: U64 | None = None
    lease_ms: U64 | None = None
    release_on_disconnect: bool | None = False


class PullBatch(Command, tag="PULLB", kw_only=True, gc=False):
    queue: str
    count: U64
    timeout: U64 | None = None
    lease_ms: U64 | None = None
    release_on_disconnect: bool | None = False


class Ack(Command, tag="ACK", kw_only=True, gc=False):
    id: U64
    result: Raw = ABSENT
    lease: U64 | None = None


class AckBatch(Command, tag="ACKB", kw_only=True):
    ids: list[U64]
    results: list[Raw] | None = None
    leases: list[U64 | None] | None = None


class Fail(Command, tag="FAIL", kw_only=True, gc=False):
    id: U64
    error: str | None = None
    lease: U64 | None = None


class Heartbeat(Command, tag="HEARTBEAT", kw_only=True, gc=False):
    id: U64 | None = None
    job_id: U64 | None = None
    lease: U64 | None = None


class GetJob(Command, tag="GETJOB", kw_only=True, gc=False):
    id: U64


class GetState(Command, tag="GETSTATE", kw_only=True, gc=False):
    id: U64


class GetResult(Command, tag="GETRESULT", kw_only=True, gc=False):
    id: U64


class Count(Command, tag="COUNT", kw_only=True, gc=False):
    queue: str


class Pause(Command, tag="PAUSE", kw_only=True, gc=False):
    queue: str


class Resume(Command, tag="RESUME", kw_only=True, gc=False):
    queue: str


class Stats(Command, tag="STATS", kw_only=True, gc=False):
    pass


class ListQueues(Command, tag="LISTQUEUES", kw_only=True, gc=False):
    pass


class Ping(Command, tag="PING", kw_only=True, gc=False):
    pass


class Auth(Command, tag="AUTH", kw_only=True, gc=False):
    token: str


type_of_all = (
    Push | PushBatch | Pull | PullBatch | Ack | AckBatch | Fail | Heartbeat | GetJob | GetState | GetResult
    | Count | Pause | Resume | Stats | ListQueues | Ping | Auth
    | j.Cancel | j.ChangePriority | j.Discard | j.GetChildren | j.GetJobByCustomId | j.GetJobs | j.GetJobsBatch
    | j.GetLogs | j.GetProgress | j.History | j.Log | j.MoveToDelayed | j.Partial | j.Progress | j.Promote | j.Update
    | j.UpdateJob | j.WaitJob
    | q.Clean | q.ClearConcurrency | q.DeadLetters | q.Drain | q.GetJobCounts | q.IsPaused | q.Metrics | q.Obliterate
    | q.PurgeDeadLetters | q.RateLimit | q.RateLimitClear | q.RetryDeadLetters | q.SetConcurrency | q.Subscribe
    | q.Unsubscribe
    | s.Cron | s.CronDelete | s.CronList | s.Flow | s.KvDel | s.KvExists | s.KvExpire | s.KvGet | s.KvIncr | s.KvKeys
    | s.KvMget | s.KvMset | s.KvSet | s.KvTtl
    | w.Incoming | w.IncomingDelete | w.IncomingList
    | w.Webhook | w.WebhookDelete | w.WebhookDeliveries | w.WebhookList | w.WebhookResend
)  # fmt: skip
ALL: Final[tuple[type[Any], ...]] = get_args(type_of_all)


class _Fast(Struct, tag_field="cmd", kw_only=True, gc=False, forbid_unknown_fields=True):
    reqId: Raw = ABSENT


class PlainPush(_Fast, tag="PUSH", kw_only=True, gc=False, forbid_unknown_fields=True):
    queue: str
    data: Raw


class PlainEntry(Struct, gc=False, forbid_unknown_fields=True):
    data: Raw = NULL


class PlainPushBatch(_Fast, tag="PUSHB", kw_only=True, forbid_unknown_fields=True):
    queue: str
    jobs: list[PlainEntry]


class PlainPull(_Fast, tag="PULL", kw_only=True, gc=False, forbid_unknown_fields=True):
    queue: str
    timeout: U64 | None = None


class PlainPullBatch(_Fast, tag="PULLB", kw_only=True, gc=False, forbid_unknown_fields=True):
    queue: str
    count: U64
    timeout: U64 | None = None


class PlainAck(_Fast, tag="ACK", kw_only=True, gc=False, forbid_unknown_fields=True):
    id: U64
    result: Raw = ABSENT
    lease: U64 | None = None


class PlainAckBatch(_Fast, tag="ACKB", kw_only=True, forbid_unknown_fields=True):
    ids: list[U64]


type_of_fast = PlainPush | PlainPushBatch | PlainPull | PlainPullBatch | PlainAck | PlainAckBatch
FAST: Final[tuple[type[Any], ...]] = get_args(type_of_fast)

fast_text: Final = json.Decoder(type_of_fast).decode
full_text: Final = json.Decoder(type_of_all).decode
fast_binary: Final = msgpack.Decoder(type_of_fast).decode
full_binary: Final = msgpack.Decoder(type_of_all).decode
FULL: Final = {Codec.TEXT: full_text, Codec.BINARY: full_binary}
