"""Commands about what is not a job of a queue by itself: flows, crons, the key-value store."""

from typing import Annotated

from msgspec import Meta, Raw, Struct

from flashq.protocol.command_base import ABSENT, NULL, U64, Command, JobOptions

I64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class FlowChild(JobOptions, kw_only=True, omit_defaults=True):
    """A job of a flow; with `children` of its own it is a flow in the flow."""

    queue: str
    data: Raw = NULL
    children: "list[FlowChild] | None" = None
    ignore_failure: bool | None = False


class Flow(JobOptions, tag_field="cmd", tag="FLOW", kw_only=True):
    """A parent that waits for its children. Its options are a job's."""

    queue: str
    children: list[FlowChild]
    data: Raw = NULL
    reqId: Raw = ABSENT
    idempotency_key: str | None = None


class CronOptions(JobOptions, kw_only=True, gc=False):
    """What a client sends as an object of its own: the options of the jobs a cron makes, and its own."""

    schedule: str | None = None
    repeat_every: U64 | None = None
    limit: U64 | None = None
    timezone: str | None = None
    misfire: str | None = None


class Cron(JobOptions, tag_field="cmd", tag="CRON", kw_only=True):
    """`schedule` or `repeat_every` (milliseconds), which wins."""

    name: str
    queue: str
    data: Raw = NULL
    schedule: str | None = None
    repeat_every: U64 | None = None
    limit: U64 | None = None
    timezone: str | None = None
    misfire: str | None = None
    options: CronOptions | None = None
    reqId: Raw = ABSENT
    idempotency_key: str | None = None


class CronDelete(Command, tag="CRONDELETE", kw_only=True, gc=False):
    name: str


class CronList(Command, tag="CRONLIST", kw_only=True, gc=False):
    pass


class KvSet(Command, tag="KVSET", kw_only=True, gc=False):
    key: str
    value: Raw
    ttl: U64 | None = None


class KvGet(Command, tag="KVGET", kw_only=True, gc=False):
    key: str


class KvDel(Command, tag="KVDEL", kw_only=True, gc=False):
    key: str


class KvExists(Command, tag="KVEXISTS", kw_only=True, gc=False):
    key: str


class KvExpire(Command, tag="KVEXPIRE", kw_only=True, gc=False):
    key: str
    ttl: U64


class KvTtl(Command, tag="KVTTL", kw_only=True, gc=False):
    key: str


class KvMget(Command, tag="KVMGET", kw_only=True):
    keys: list[str]


class KvEntry(Struct, kw_only=True, gc=False):
    key: str
    value: Raw
    ttl: U64 | None = None


class KvMset(Command, tag="KVMSET", kw_only=True):
    entries: list[KvEntry]


class KvKeys(Command, tag="KVKEYS", kw_only=True, gc=False):
    pattern: str | None = None


class KvIncr(Command, tag="KVINCR", kw_only=True, gc=False):
    key: str
    by: I64 | None = 1


__all__ = [
    "Cron", "CronDelete", "CronList", "CronOptions", "Flow", "FlowChild", "KvDel", "KvEntry", "KvExists", "KvExpire",
    "KvGet", "KvIncr", "KvKeys", "KvMget", "KvMset", "KvSet", "KvTtl",
]  # fmt: skip
