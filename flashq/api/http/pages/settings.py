"""How the server is set up, and what of that is chosen at run time: kept in slot 0, known to every shard.

What is not named in a request stays as it is; DELETE makes all of a group as configured again.
"""

import asyncio
from typing import Any, Final

import msgspec

from flashq import __version__
from flashq.api.http.history import POINTS
from flashq.api.http.pages.health import mono_ms
from flashq.api.http.pages.page import Asked, Page, Refused, check_origin
from flashq.api.http.pages.storage import S3_OFF, sqlite_settings
from flashq.config import bounds
from flashq.database_url import masked
from flashq.errors import InvalidArgument, Unavailable

_GROUP: Final = "Settings"
_HOME_SLOT: Final = 0


async def _settings(asked: Asked) -> Any:
    host = asked.host
    s = host.settings
    try:
        chosen = await _chosen(asked)
    except (Unavailable, Refused):
        chosen = None
    return {
        "version": __version__, "tcp_port": s.port, "http_port": s.http_port, "durability": s.durability,
        "shards": s.shards, "sqlite": sqlite_settings(host), "s3_backup": S3_OFF,
        "database_connected": bool(s.database_url),
        "database_url": masked(s.database_url) if s.database_url else None,
        "auth_enabled": host.access.required, "auth_token_count": len(s.auth_tokens) + host.access.named,
        "uptime_seconds": max(0, mono_ms() - host.state.header.started_mono_ms) // 1_000,
        "limits": {name: getattr(s, name) for name in _LIMITS},
        "defaults": {name: getattr(s, name) for name in _DEFAULTS},
        "queue_defaults": chosen and _shown(chosen, _QUEUE_DEFAULTS, asked),
        "cleanup": chosen and _shown(chosen, _CLEANUP, asked),
    }  # fmt: skip


_LIMITS: Final = ("frame_bytes_max", "data_bytes_max", "max_batch", "name_bytes_max", "duration_ms_max", "nesting_max")
_DEFAULTS: Final = (
    "default_max_attempts", "default_backoff_ms", "default_lease_ms", "default_ttl_ms", "default_timeout_ms",
    "keep_completed_count", "keep_completed_age_ms",
)  # fmt: skip


class QueueDefaults(msgspec.Struct, forbid_unknown_fields=True):
    """What a job gets that asks for nothing; times in milliseconds."""

    default_timeout: int | None = None
    default_max_attempts: int | None = None
    default_backoff: int | None = None
    default_ttl: int | None = None


class Cleanup(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of completed jobs, and of figures."""

    max_completed_jobs: int | None = None
    """A queue."""
    max_job_results: int | None = None
    """A queue. A result lives as long as its job is remembered: the smaller of both counts."""
    cleanup_interval_secs: int | None = None
    metrics_history_size: int | None = None
    """Points, one each five seconds."""


class _Row(msgspec.Struct, frozen=True):
    name: str
    """As shards call it."""
    setting: str = ""
    """What it is where nothing is chosen, whose bounds it has; empty: those below."""
    scale: int = 1
    """Milliseconds of its unit, where that is another."""
    bounds: tuple[int, int] = (0, 0)
    else_: int = 0


_QUEUE_DEFAULTS: Final = {
    "default_timeout": _Row("timeout_ms", "default_timeout_ms"),
    "default_max_attempts": _Row("max_attempts", "default_max_attempts"),
    "default_backoff": _Row("backoff_ms", "default_backoff_ms"),
    "default_ttl": _Row("ttl_ms", "default_ttl_ms"),
}
_CLEANUP: Final = {
    "max_completed_jobs": _Row("completed_max", "keep_completed_count"),
    "max_job_results": _Row("results_max", "keep_completed_count"),
    "cleanup_interval_secs": _Row("cleanup_interval_ms", scale=1_000, bounds=(1, 86_400)),
    "metrics_history_size": _Row("history_points", bounds=(1, 17_280), else_=POINTS),
}


def _home(asked: Asked) -> int:
    return asked.host.ways.owner_of(_HOME_SLOT)


async def _chosen(asked: Asked) -> dict[str, int | None]:
    found: dict[str, int | None] = await asked.ask_shard(_home(asked), "settings", None)
    return found


def _shown(chosen: dict[str, int | None], rows: dict[str, _Row], asked: Asked) -> dict[str, int | None]:
    """What counts now; null: it is found by other settings."""
    found: dict[str, int | None] = {}
    for field, row in rows.items():
        value = chosen[row.name]
        if value is not None:
            found[field] = value // row.scale
        else:
            found[field] = getattr(asked.host.settings, row.setting) if row.setting else row.else_ or None
    return found


async def _choose(asked: Asked, rows: dict[str, _Row]) -> dict[str, int | None]:
    """Change what the request names; what counts then."""
    check_origin(asked)
    changes = {}
    for field, row in rows.items():
        value = getattr(asked.body, field)
        if value is None:
            continue
        least, most = bounds(row.setting) if row.setting else row.bounds
        if not least <= value <= most:
            raise InvalidArgument(f"invalid value: `{field}` is {value}, allowed is {least:.0f} to {most:.0f}")
        changes[row.name] = value * row.scale
    return _shown(await asked.ask_shard(_home(asked), "choose", changes), rows, asked)


async def _as_configured(asked: Asked, rows: dict[str, _Row]) -> dict[str, int | None]:
    check_origin(asked)
    changes = dict.fromkeys((row.name for row in rows.values()), None)
    return _shown(await asked.ask_shard(_home(asked), "choose", changes), rows, asked)


def _told(what: str, counts: dict[str, int | None]) -> str:
    known = ", ".join(f"{field} {value}" for field, value in counts.items() if value is not None)
    return f"{what}: {known}"


async def _set_defaults(asked: Asked) -> Any:
    return _told("Jobs pushed from now on get", await _choose(asked, _QUEUE_DEFAULTS))


async def _reset_defaults(asked: Asked) -> Any:
    return _told("Jobs pushed from now on get", await _as_configured(asked, _QUEUE_DEFAULTS))


async def _set_cleanup(asked: Asked) -> Any:
    shown = await _choose(asked, _CLEANUP)
    await _clean_up(asked)
    return _told("Kept from now on", shown)


async def _reset_cleanup(asked: Asked) -> Any:
    return _told("Kept from now on", await _as_configured(asked, _CLEANUP))


async def _clean_up(asked: Asked) -> int:
    """On every shard; how many completed jobs were forgotten."""
    shards = range(asked.host.settings.shards)
    return sum(await asyncio.gather(*(asked.ask_shard(shard, "clean_up", None) for shard in shards)))


async def _run_cleanup(asked: Asked) -> Any:
    check_origin(asked)
    return f"Forgot {await _clean_up(asked)} completed jobs that were kept for long enough, or were too many"


async def _tokens(asked: Asked) -> Any:
    raise InvalidArgument("Make tokens by POST /tokens or `flashq auth create`; AUTH_TOKENS is read at the start")


_SET_DEFAULTS: Final = {"default_timeout": 60_000, "default_max_attempts": 5}
_SET_CLEANUP: Final = {"max_completed_jobs": 5_000, "cleanup_interval_secs": 60}
PAGES: Final = [
    Page(method="GET", path="/settings", group=_GROUP, summary="How the server is set up", serve=_settings,
         data={"version": "1.0.0", "tcp_port": 6789, "http_port": 6790, "durability": "fsync", "auth_enabled": True,
               "auth_token_count": 1, "uptime_seconds": 61,
               "queue_defaults": {"default_timeout": 0, "default_max_attempts": 3, "default_backoff": 1000,
                                  "default_ttl": 0},
               "cleanup": {"max_completed_jobs": 1000, "max_job_results": 1000, "cleanup_interval_secs": None,
                           "metrics_history_size": 60}}),
    Page(method="POST", path="/settings/auth", group=_GROUP, summary="Refused: tokens are made by POST /tokens",
         serve=_tokens),
    Page(method="POST", path="/settings/queue-defaults", group=_GROUP, serve=_set_defaults, kind=QueueDefaults,
         summary="What jobs get that ask for nothing, from now on", body=_SET_DEFAULTS,
         data="Jobs pushed from now on get: default_timeout 60000, default_max_attempts 5"),
    Page(method="DELETE", path="/settings/queue-defaults", group=_GROUP, serve=_reset_defaults,
         summary="The same as configured again",
         data="Jobs pushed from now on get: default_timeout 0, default_max_attempts 3"),
    Page(method="POST", path="/settings/cleanup", group=_GROUP, serve=_set_cleanup, kind=Cleanup,
         summary="What is kept of completed jobs and of figures, from now on", body=_SET_CLEANUP,
         data="Kept from now on: max_completed_jobs 5000, cleanup_interval_secs 60"),
    Page(method="DELETE", path="/settings/cleanup", group=_GROUP, serve=_reset_cleanup,
         summary="The same as configured again", data="Kept from now on: max_completed_jobs 1000"),
    Page(method="POST", path="/settings/cleanup/run", group=_GROUP, serve=_run_cleanup,
         summary="Forget at once what is not to be kept",
         data="Forgot 12 completed jobs that were kept for long enough, or were too many"),
]  # fmt: skip
