"""Commands about single jobs, by id: control, progress, logs, queries."""

from msgspec import Raw

from flashq.protocol.command_base import I32, U32, U64, Command


class Cancel(Command, tag="CANCEL", kw_only=True, gc=False):
    id: U64


class Progress(Command, tag="PROGRESS", kw_only=True, gc=False):
    """`progress`: fractions are rounded down, up to 255 is accepted and kept as 100."""

    id: U64
    progress: int | float
    message: str | None = None
    lease: U64 | None = None


class GetProgress(Command, tag="GETPROGRESS", kw_only=True, gc=False):
    id: U64


class ChangePriority(Command, tag="CHANGEPRIORITY", kw_only=True, gc=False):
    id: U64
    priority: I32


class MoveToDelayed(Command, tag="MOVETODELAYED", kw_only=True, gc=False):
    id: U64
    delay: U64
    lease: U64 | None = None


class Promote(Command, tag="PROMOTE", kw_only=True, gc=False):
    id: U64


class UpdateJob(Command, tag="UPDATEJOB", kw_only=True, gc=False):
    id: U64
    data: Raw


class Update(Command, tag="UPDATE", kw_only=True, gc=False):
    """What some clients call UPDATEJOB."""

    id: U64
    data: Raw


class Discard(Command, tag="DISCARD", kw_only=True, gc=False):
    id: U64


class Partial(Command, tag="PARTIAL", kw_only=True, gc=False):
    id: U64
    data: Raw
    index: U32 | None = None
    lease: U64 | None = None


class Log(Command, tag="LOG", kw_only=True, gc=False):
    message: str
    id: U64 | None = None
    job_id: U64 | None = None
    level: str | None = "info"


class GetLogs(Command, tag="GETLOGS", kw_only=True, gc=False):
    id: U64 | None = None
    job_id: U64 | None = None


class History(Command, tag="HISTORY", kw_only=True, gc=False):
    id: U64


class WaitJob(Command, tag="WAITJOB", kw_only=True, gc=False):
    id: U64
    timeout: U64 | None = None


class GetChildren(Command, tag="GETCHILDREN", kw_only=True, gc=False):
    parent_id: U64


class GetJobByCustomId(Command, tag="GETJOBBYCUSTOMID", kw_only=True, gc=False):
    job_id: str | None = None
    customId: str | None = None
    custom_id: str | None = None


class GetJobsBatch(Command, tag="GETJOBSBATCH", kw_only=True):
    ids: list[U64]


class GetJobs(Command, tag="GETJOBS", kw_only=True, gc=False):
    queue: str | None = None
    state: str | None = None
    limit: U64 | None = None
    offset: U64 | None = None


__all__ = [
    "Cancel", "ChangePriority", "Discard", "GetChildren", "GetJobByCustomId", "GetJobs", "GetJobsBatch",
    "GetLogs", "GetProgress", "History", "Log", "MoveToDelayed", "Partial", "Progress", "Promote", "Update",
    "UpdateJob", "WaitJob",
]  # fmt: skip
