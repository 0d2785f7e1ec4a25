"""Where jobs are kept, as older dashboards ask for it. What is set in the configuration is not set here."""

from typing import Any, Final

from flashq.api.http.failures import HttpFailure
from flashq.api.http.pages.page import Asked, Host, Page, Serve
from flashq.errors import InvalidArgument

_GROUP: Final = "Storage"
S3_OFF: Final[dict[str, Any]] = {
    "enabled": False, "endpoint": None, "bucket": None, "region": None, "interval_secs": 0, "keep_count": 0,
    "compress": False,
}  # fmt: skip
"""Backups to S3: there are none."""


def sqlite_settings(host: Host) -> dict[str, Any]:
    """Tables in SQLite stand behind the journal, unless all is in memory."""
    durability = host.state.header.durability
    on = durability != "memory"
    return {
        "enabled": on, "path": str(host.settings.data) if on else None, "synchronous": durability == "fsync",
        "snapshot_interval": 0, "snapshot_min_changes": 0,
    }  # fmt: skip


async def _sqlite(asked: Asked) -> Any:
    return sqlite_settings(asked.host)


async def _stats(asked: Asked) -> Any:
    host = asked.host
    size = sum(path.stat().st_size for path in host.settings.data.glob("shard-*/**/*") if path.is_file())
    totals = host.history.totals()
    queued = totals.queued + totals.delayed
    return {
        "enabled": host.state.header.durability != "memory", "path": str(host.settings.data),
        "file_size_bytes": size, "file_size_mb": size / (1024 * 1024),
        "total_jobs": queued + totals.active + totals.completed_now + totals.dead,
        "queued_jobs": totals.queued, "processing_jobs": totals.active, "completed_jobs": totals.completed_now,
        "failed_jobs": totals.dead, "delayed_jobs": totals.delayed, "async_writer_enabled": False,
        **dict.fromkeys(_WRITER, 0),
    }  # fmt: skip


_WRITER: Final = (
    "async_writer_queue_len", "async_writer_ops_queued", "async_writer_ops_written", "async_writer_batches_written",
    "async_writer_batch_interval_ms", "async_writer_max_batch_size",
)  # fmt: skip
"""Figures of a writer behind the answers, which there is not: what is answered is written."""


async def _s3(asked: Asked) -> Any:
    return S3_OFF


async def _none(asked: Asked) -> Any:
    return []


async def _no_download(asked: Asked) -> Any:
    raise HttpFailure(400, "")


def _refusing(text: str) -> Serve:
    async def refuse(asked: Asked) -> Any:
        raise InvalidArgument(text)

    return refuse


_SET: Final = "Storage is set by durability and data in flashq.toml, and read at the start"
_NO_S3: Final = "S3 backup not configured"
_REFUSED: Final = {
    "/sqlite/settings": _SET,
    "/sqlite/async-writer": "Async writer not enabled",
    "/sqlite/restore": _SET,
    "/s3/settings": _NO_S3,
    "/s3/test": _NO_S3,
    "/s3/backup": _NO_S3,
    "/s3/restore": _NO_S3,
}
PAGES: Final = [
    Page(method="GET", path="/sqlite/settings", group=_GROUP, summary="Where jobs are kept", serve=_sqlite,
         data={"enabled": True, "path": "data", "synchronous": True}),
    Page(method="GET", path="/sqlite/stats", group=_GROUP, summary="Size of what is kept, and jobs in it",
         serve=_stats, data={"enabled": True, "path": "data", "file_size_bytes": 1048576, "total_jobs": 1015}),
    Page(method="GET", path="/sqlite/export", group=_GROUP, summary="Refused: copy the data folder of a stopped server",
         serve=_refusing("SQLite not configured: copy the data folder while the server is stopped")),
    Page(method="GET", path="/sqlite/download", group=_GROUP, summary="Refused: there is no one file of it all",
         serve=_no_download),
    Page(method="GET", path="/s3/settings", group=_GROUP, summary="Backups to S3", serve=_s3, data=S3_OFF),
    Page(method="GET", path="/s3/backups", group=_GROUP, summary="Backups in S3", serve=_none, data=[]),
    *(Page(method="POST", path=path, group=_GROUP, summary=f"Refused: {text[:1].lower()}{text[1:]}",
           serve=_refusing(text)) for path, text in _REFUSED.items()),
]  # fmt: skip
