"""How the server is set up. What would change that at run time is refused with the place where it is set."""

from typing import Any, Final

from flashq import __version__
from flashq.api.http.pages.health import mono_ms
from flashq.api.http.pages.page import Asked, Page
from flashq.api.http.pages.storage import S3_OFF, sqlite_settings
from flashq.database_url import masked
from flashq.errors import InvalidArgument

_GROUP: Final = "Settings"


async def _settings(asked: Asked) -> Any:
    host = asked.host
    s = host.settings
    return {
        "version": __version__, "tcp_port": s.port, "http_port": s.http_port, "durability": s.durability,
        "shards": s.shards, "sqlite": sqlite_settings(host), "s3_backup": S3_OFF,
        "database_connected": bool(s.database_url),
        "database_url": masked(s.database_url) if s.database_url else None,
        "auth_enabled": host.access.required, "auth_token_count": len(s.auth_tokens) + host.access.named,
        "uptime_seconds": max(0, mono_ms() - host.state.header.started_mono_ms) // 1_000,
        "limits": {name: getattr(s, name) for name in _LIMITS},
        "defaults": {name: getattr(s, name) for name in _DEFAULTS},
    }  # fmt: skip


_LIMITS: Final = ("frame_bytes_max", "data_bytes_max", "max_batch", "name_bytes_max", "duration_ms_max", "nesting_max")
_DEFAULTS: Final = (
    "default_max_attempts", "default_backoff_ms", "default_lease_ms", "default_ttl_ms", "default_timeout_ms",
    "keep_completed_count", "keep_completed_age_ms",
)  # fmt: skip


async def _tokens(asked: Asked) -> Any:
    raise InvalidArgument("Make tokens by POST /tokens or `flashq auth create`; AUTH_TOKENS is read at the start")


async def _defaults(asked: Asked) -> Any:
    raise InvalidArgument("Defaults of jobs are set by default_* in flashq.toml, and read at the start")


async def _cleanup(asked: Asked) -> Any:
    raise InvalidArgument("Retention is set by keep_completed_* in flashq.toml, and read at the start")


async def _run_cleanup(asked: Asked) -> Any:
    return "Retention is applied all the time: there was nothing left to run"


PAGES: Final = [
    Page(method="GET", path="/settings", group=_GROUP, summary="How the server is set up", serve=_settings,
         data={"version": "1.0.0", "tcp_port": 6789, "http_port": 6790, "durability": "fsync", "auth_enabled": True,
               "auth_token_count": 1, "uptime_seconds": 61}),
    Page(method="POST", path="/settings/auth", group=_GROUP, summary="Refused: tokens are made by POST /tokens",
         serve=_tokens),
    Page(method="POST", path="/settings/queue-defaults", group=_GROUP, serve=_defaults,
         summary="Refused: defaults are set at the start"),
    Page(method="POST", path="/settings/cleanup", group=_GROUP, serve=_cleanup,
         summary="Refused: retention is set at the start"),
    Page(method="POST", path="/settings/cleanup/run", group=_GROUP, serve=_run_cleanup,
         summary="Apply retention, which happens all the time"),
]  # fmt: skip
