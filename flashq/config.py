"""Configuration: one frozen `Settings`, read once at start, checked as a whole and passed down.

Rules kept here
- The later wins: defaults, `flashq.toml`, environment, flags.
- A key that nobody knows is a ConfigError naming the nearest one we know; a wrong value is a ConfigError with
  its name, the value and what is allowed. Secrets appear in neither `repr` nor error.
- Nothing else looks at the environment.

The kind of a field follows from its name and type: `_ms` is a duration ("30s" is understood), `bytes` and `memory`
are sizes ("64MiB"). Each field is FLASHQ_<NAME> in the environment; `ALIASES` has the names older servers used.
"""

import difflib
import hashlib
import ipaddress
import os
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from flashq import database_url, machine
from flashq.errors import ConfigError
from flashq.units import DAY_MS, GIB, KIB, MIB, parse_duration_ms, parse_size, show_duration, show_size

SHARDS_MAX: Final = 1024
"""As many as there are slots."""
UNIX_PATH_BYTES_MAX: Final = 107
"""`sun_path` of Linux, less its closing zero."""
RUN_BYTES_MAX: Final = UNIX_PATH_BYTES_MAX - 31
"""What a run folder's path may have, so that the sockets within it (at most 30 bytes and a slash) still fit."""
FILE_NAME: Final = "flashq.toml"
FILE_VARIABLE: Final = "FLASHQ_CONFIG"
PREFIX: Final = "FLASHQ_"
ALIASES: Final[Mapping[str, str]] = {
    "PORT": "port",
    "TCP_PORT": "port",
    "UNIX_SOCKET": "unix_socket",
    "HTTP_PORT": "http_port",
    "GRPC_PORT": "grpc_port",
    "CORS_ALLOW_ORIGIN": "cors_allow_origin",
    "DASHBOARD_INTERVAL_MS": "dashboard_interval_ms",
    "AUTH_TOKENS": "auth_tokens",
    "DATABASE_URL": "database_url",
}
"""Names of older servers; FLASHQ_<NAME> wins over them, and a later line of this table over an earlier one."""
SWITCHES: Final[Mapping[str, tuple[str, bool]]] = {
    "HTTP": ("http", True),
    "NO_HTTP": ("http", False),
    "GRPC": ("grpc", True),
    "NO_GRPC": ("grpc", False),
}
"""Variables of older servers that count by being there, whatever their value; a later line wins."""

Durability = Literal["fsync", "commit", "memory"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]

_NOT_SETTINGS: Final = frozenset({FILE_VARIABLE, "FLASHQ_ADDRESS", "FLASHQ_TOKEN", "FLASHQ_CA", "FLASHQ_CLIENT_CERT"})
# Kubernetes describes a service called "flashq" to every pod in such variables, FLASHQ_PORT=tcp://10.0.0.9:6789 too.
_SERVICE_LINK: Final = re.compile(r"FLASHQ_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")
_DERIVED: Final = Path()


def default_shards() -> int:
    """One per core, at most 32."""
    return min(machine.cores(), 32)


def default_max_memory() -> int:
    """70 % of what the machine or the container has, in bytes."""
    return machine.memory_bytes() * 7 // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Built by `load`, or directly in tests; checked either way (ConfigError)."""

    # Doors
    host: str = "127.0.0.1"
    """Address to listen on. One that others can reach needs a token, `tls_client_ca`, or `insecure`."""
    port: int = 6789
    """TCP port; 0 takes a free one."""
    unix_socket: Path | None = None
    """Unix socket to listen on beside TCP: faster on the same machine, guarded by file permissions."""
    http: bool = True
    """Serve HTTP too."""
    http_port: int = 6790
    """HTTP port, on the same address; 0 takes a free one."""
    grpc: bool = True
    """Serve gRPC too, from a process of its own of about 20 MB."""
    grpc_port: int = 6791
    """gRPC port, on the same address; 0 takes a free one."""
    cors_allow_origin: str = "*"
    """Origins whose pages may use HTTP from a browser, comma separated; `*` is any, empty is none."""
    http_keep_alive_ms: int = 75_000
    """How long an HTTP connection without a request is kept. Longer: fewer reconnects, more open connections."""
    dashboard_interval_ms: int = 3_000
    """How often `/ws/dashboard` sends a snapshot, made once for all who watch. Shorter: more work, fresher figures."""
    auth_tokens: tuple[str, ...] = field(default=(), repr=False)
    """Tokens that clients may show, comma separated in the environment. None: every client is trusted."""
    tls_cert: Path | None = None
    """Certificate chain in PEM: TCP and HTTP speak TLS 1.2 and later, nothing else. Read again at SIGHUP."""
    tls_key: Path | None = None
    """Private key of `tls_cert`, in PEM, without a pass phrase."""
    tls_client_ca: Path | None = None
    """Authorities in PEM: a client has to show a certificate that one of them signed."""
    insecure: bool = False
    """Allow an address that others can reach without tokens. Everybody who reaches it may do everything."""
    preauth_frame_bytes_max: int = 64 * KIB
    """Largest frame of a client that has not shown a token yet. Larger: strangers cost more memory."""
    preauth_timeout_ms: int = 10_000
    """How long a client may take to show its token. Longer: strangers hold connections longer."""

    # Processes
    shards: int = field(default_factory=default_shards)
    """Shard processes. More than cores gain nothing. Another number than before moves slots at the start."""
    routers: int = 1
    """Router processes on one listener. More: faster connects; a steady connection does not notice."""
    api_workers: int = 1
    """HTTP processes on one listener. More: more requests a second, where cores are free."""
    data: Path = Path("data")
    """Folder of journals and tables, locked by one cluster."""
    run: Path = _DERIVED
    """Folder of sockets and shared memory; unset: a short one in XDG_RUNTIME_DIR or /tmp, named after `data`."""
    heartbeat_limit_ms: int = 10_000
    """A process silent for so long is killed and restarted. Shorter: hangs cost less, a slow disk may look like one."""
    request_deadline_ms: int = 5_000
    """How long a forwarded request waits for a shard that is down. Longer: fewer errors, later ones."""
    reconnect_grace_ms: int = 5_000
    """How long leases tied to a connection wait for their worker after a crash of ours."""
    stop_timeout_ms: int = 30_000
    """How long a clean stop may take before what still runs is killed; what was answered is safe either way."""
    max_memory: int = field(default_factory=default_max_memory)
    """Memory of all shards together; past 90 % of it pushes are refused, acks and pulls go on."""

    # Storage
    durability: Durability = "fsync"
    """What `ok: true` promises: "fsync" survives power loss, "commit" a crash of flashq, "memory" nothing."""
    database_url: str = field(default="", repr=False)
    """A PostgreSQL database that holds journal and tables instead of `data`; its user may create schemas in it."""
    segment_bytes: int = 16 * MIB
    """Size of a journal segment. Larger: fewer files; smaller: less disk held per shard."""
    checkpoint_bytes: int = 64 * MIB
    """Sealed journal that is folded into tables at once. Larger: fewer checkpoints, a longer recovery."""
    backup_dir: Path | None = None
    """Folder in which a running cluster makes backups of itself; not in `data`, better on another disk."""
    backup_every_ms: int = DAY_MS
    """From one backup to the next. Shorter: less is lost with the disk, more work, by a process that gives way."""
    backup_keep: int = 7
    """Backups that are kept; 0 keeps all."""
    archive_dir: Path | None = None
    """Folder in which journal segments are kept, compressed and chained, before they are used again."""
    archive_key: str = field(default="", repr=False)
    """Makes the archive's chain one that nobody can forge without it. An archive is made with one key, or none."""
    archive_keep_ms: int = 0
    """How long the archive keeps a segment; 0 for ever."""
    archive_keep_bytes: int = 0
    """Bytes that the archive keeps, a shard; the oldest goes first. 0 without bound."""

    # Jobs, where a push says nothing
    default_max_attempts: int = 3
    """Failures until a job is a dead letter; 0 retries for ever."""
    default_backoff_ms: int = 1_000
    """Base of the retry delay, which doubles with each attempt; 0 retries at once."""
    backoff_jitter: float = 0.0
    """Share of a retry delay that is drawn at random, 0 to 1. More: fewer retries at one moment, less exact ones."""
    default_lease_ms: int = 1_800_000
    """How long a silent worker keeps its job. Longer: a crash costs more waiting. Shorter: a pause costs a retry."""
    default_ttl_ms: int = 0
    """How long a job may wait until it is dropped; 0 for ever."""
    default_timeout_ms: int = 0
    """How long a job may run, whatever its worker says; 0 for ever."""
    crash_limit: int = 3
    """Workers a job may be lost with before it is a dead letter. More: harder on workers, kinder to jobs."""
    disconnect_grace_ms: int = 0
    """How long jobs of a broken connection wait for its worker. Longer helps where networks flap, delays the rest."""
    keep_completed_count: int = 1_000
    """Completed jobs kept for questions, a queue; 0 keeps none."""
    keep_completed_age_ms: int = DAY_MS
    """How long a completed job is kept; 0 without bound."""
    keep_completed_bytes: int = 64 * MIB
    """Bytes of completed jobs kept, a queue."""

    # Limits of a request
    frame_bytes_max: int = 16 * MIB
    """Largest request: a line of text or a binary frame."""
    data_bytes_max: int = 10 * MIB
    """Largest data, result or value, serialised."""
    max_batch: int = 1_000
    """Jobs in one batch command. Larger: more a second, and longer waits for others in the same tick."""
    reply_bytes_max: int = 8 * MIB
    """Payload in one reply; a batch pull leaves the rest waiting."""
    name_bytes_max: int = 512
    """Bytes of a custom id, unique key, group or tag."""
    text_bytes_max: int = 64 * KIB
    """Bytes of a log line or of a progress message."""
    tags_max: int = 64
    """Tags of a job."""
    depends_on_max: int = 1_000
    """Jobs that one job may wait for."""
    duration_ms_max: int = 3_650 * DAY_MS
    """Longest delay, ttl or timeout: ten years."""
    nesting_max: int = 990
    """Arrays and objects within each other, in JSON and MessagePack."""

    # Limits of a connection and of a shard
    in_flight_bytes_max: int = 16 * MIB
    """Unanswered bytes of one connection; past them we stop reading from it."""
    in_flight_requests_max: int = 10_000
    """Unanswered requests of one connection; past them we stop reading from it."""
    tick_bytes_max: int = 8 * MIB
    """Input of one tick. Larger: more a sync, and longer waits for the small ones in it."""
    idempotency_window_ms: int = 600_000
    """How long the reply to an `idempotency_key` is kept."""
    idempotency_keys_max: int = 1_000_000
    """Keys kept, a shard; the oldest goes first."""
    idempotency_bytes_max: int = 256 * MIB
    """Bytes of keys and replies kept, a shard; the oldest goes first."""
    queues_max: int = 1_000_000
    """Queues that may exist."""
    queue_forget_ms: int = 3_600_000
    """An unused queue without jobs and settings is forgotten after so long."""

    # Webhooks
    webhook_allow: tuple[str, ...] = ()
    """Networks, addresses and host names that webhooks may go to although they are not public, comma separated."""
    webhook_timeout_ms: int = 10_000
    """How long one attempt may take, name look-up and answer included. Longer: dead receivers hold more back."""
    webhook_retry_ms: int = 1_000
    """Delay after a first failed attempt; it doubles with each one more."""
    webhook_retry_max_ms: int = 3_600_000
    """Longest delay between attempts."""
    webhook_give_up_ms: int = DAY_MS
    """Attempts end so long after the event; the delivery is then listed as failed, and can be sent again."""
    webhook_breaker_ms: int = 30_000
    """How long a URL that failed five times in a row is left alone."""
    webhook_concurrency: int = 64
    """Attempts under way at a time. More: more sockets, and more deliveries that are slow at once."""
    webhooks_max: int = 1_000
    """Webhooks that may exist."""
    webhook_waiting_max: int = 10_000
    """Deliveries that may wait, a webhook and shard; what comes then is dropped and counted."""
    webhook_waiting_bytes_max: int = 16 * MIB
    """Bytes of them, and of failed ones that are kept."""
    webhook_failed_max: int = 1_000
    """Failed deliveries that are kept, a webhook and shard; the oldest goes first."""

    incoming_bytes_max: int = MIB
    """Largest request that pushes a job as a webhook of another service."""
    incoming_tolerance_ms: int = 300_000
    """How far the moment that such a request is signed with may be from now."""

    # Figures
    queues_shown_max: int = 16_384
    """Queues, a shard, that LISTQUEUES, STATS and METRICS show by name; the rest is summed as `__other__`."""
    metrics_queues_max: int = 1_000
    """Queues with series of their own in `/metrics/prometheus`; the rest is summed as `__other__`."""
    metrics_times_max: int = 100
    """Queues with histograms of their own there, 50 series each: the first that come, every shard its share."""

    # Traces
    otel_endpoint: str = ""
    """URL of an OpenTelemetry collector that gets spans of what HTTP and gRPC serve, by OTLP over HTTP; empty: none."""
    otel_sample: float = 1.0
    """Share of requests that are told of, of those whose client says nothing of it."""

    # Log
    log_level: LogLevel = "info"
    """Least level that is written."""
    log_format: LogFormat = "console"
    """Lines for people, or JSON for machines."""
    slow_tick_ms: int = 250
    """A tick of a shard that takes so long gets a line, one a second at most."""

    def __post_init__(self) -> None:
        for name in ("data", "run", "archive_dir", "backup_dir", "unix_socket", "tls_cert", "tls_key", "tls_client_ca"):
            path = getattr(self, name)
            if path is not None and path != _DERIVED:
                object.__setattr__(self, name, Path(os.path.abspath(path.expanduser())))
        if self.run == _DERIVED:
            object.__setattr__(self, "run", run_candidates(self.data)[0])
        _check(self)

    @property
    def timed_queues(self) -> int:
        """A shard's share of `metrics_times_max`."""
        return -(-self.metrics_times_max // self.shards)


Source = str
"""Where a value came from: "default", "flag", or the name of a file or of an environment variable."""


class Loaded(NamedTuple):
    """Settings, and of each field where its value came from."""

    settings: Settings
    sources: Mapping[str, Source]


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Loaded:
    """Read every source once. `flags` has values given on the command line (None counts as not given).

    `environ` is the process's environment unless given. `file` must exist if given, here or as FLASHQ_CONFIG;
    ./flashq.toml is read if it is there. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    sources: dict[str, Source] = dict.fromkeys(FIELDS, "default")
    for found in (_from_file(environ, file), _from_environment(environ), _from_flags(flags or {})):
        for name, (value, source) in found.items():
            values[name] = _parse(name, value, source)
            sources[name] = source
    settings: Any = Settings
    return Loaded(settings(**values), sources)


def run_candidates(data: Path) -> list[Path]:
    """Run folders a cluster on `data` may have, the one to make first.

    The user's runtime folder if the environment has one, else /tmp; a look from another session finds either.
    """
    digest = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]
    name = f"flashq-{os.getuid()}-{digest}"
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    folders = [Path(own)] if own.startswith("/") and Path(own).is_dir() else []
    usable = [folder for folder in folders if len(os.fsencode(folder / name)) <= RUN_BYTES_MAX]
    return [folder / name for folder in (*usable, Path("/tmp"))]


# --- sources: name -> (raw value, where it is from) ------------------------------------------------------------------

_Found = dict[str, tuple[object, Source]]


def _from_flags(flags: Mapping[str, object]) -> _Found:
    return {_known(name, "flag"): (value, "flag") for name, value in flags.items() if value is not None}


def _from_environment(environ: Mapping[str, str]) -> _Found:
    found: _Found = {}
    for alias, name in ALIASES.items():
        if alias in environ:
            found[name] = (environ[alias], alias)
    for variable, (name, switched) in SWITCHES.items():
        if variable in environ:
            found[name] = (switched, variable)
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and not _is_foreign(variable, value):
            name = _known(variable.removeprefix(PREFIX).lower(), variable)
            found[name] = (value, variable)
    return found


def _is_foreign(variable: str, value: str) -> bool:
    address = variable in ("FLASHQ_PORT", "FLASHQ_HTTP_PORT", "FLASHQ_GRPC_PORT") and "://" in value
    linked = _SERVICE_LINK.fullmatch(variable) is not None or address
    return linked or variable in _NOT_SETTINGS


def _from_file(environ: Mapping[str, str], file: Path | None) -> _Found:
    named = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    path = named or Path(FILE_NAME)
    if named is None and not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    return {_known(name, str(path)): (value, str(path)) for name, value in content.items()}


def _known(name: str, source: Source) -> str:
    if name in FIELDS:
        return name
    nearest = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.0)[0]
    raise ConfigError(f"unknown setting {name} ({source}): the nearest known one is {nearest}")


# --- values ----------------------------------------------------------------------------------------------------------

FIELDS: Final[Mapping[str, Any]] = get_type_hints(Settings)
"""Name -> type, in the order of `Settings`."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off", ""})
_YEARS: Final = 3_650 * DAY_MS
_MANY: Final = 1_000_000_000
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "port": (0, 65_535),
    "http_port": (0, 65_535),
    "grpc_port": (0, 65_535),
    "http_keep_alive_ms": (100, DAY_MS),
    "dashboard_interval_ms": (100, DAY_MS),
    "api_workers": (1, 64),
    "metrics_queues_max": (0, _MANY),
    "metrics_times_max": (0, 10_000),
    "otel_sample": (0, 1),
    "slow_tick_ms": (1, DAY_MS),
    "webhook_timeout_ms": (10, 10 * 60_000),
    "webhook_retry_ms": (1, DAY_MS),
    "webhook_retry_max_ms": (1, DAY_MS),
    "incoming_bytes_max": (1, GIB),
    "incoming_tolerance_ms": (1_000, DAY_MS),
    "webhook_breaker_ms": (1, DAY_MS),
    "webhook_concurrency": (1, 10_000),
    "webhooks_max": (0, 100_000),
    "webhook_waiting_max": (1, _MANY),
    "webhook_waiting_bytes_max": (1 * KIB, 1024 * GIB),
    "webhook_failed_max": (0, _MANY),
    "queues_shown_max": (2, 1_000_000),
    "shards": (1, SHARDS_MAX),
    "routers": (1, 64),
    "default_max_attempts": (0, _MANY),
    "backoff_jitter": (0, 1),
    "crash_limit": (1, _MANY),
    "preauth_timeout_ms": (100, DAY_MS),
    "heartbeat_limit_ms": (100, DAY_MS),
    "request_deadline_ms": (1, DAY_MS),
    "reconnect_grace_ms": (0, DAY_MS),
    "stop_timeout_ms": (1, DAY_MS),
    "disconnect_grace_ms": (0, DAY_MS),
    "default_lease_ms": (1, _YEARS),
    "duration_ms_max": (1, 10 * _YEARS),
    "keep_completed_count": (0, _MANY),
    "keep_completed_bytes": (0, 1024 * GIB),
    "max_memory": (64 * MIB, 1024 * 1024 * GIB),
    "segment_bytes": (64 * KIB, GIB),
    "checkpoint_bytes": (64 * KIB, 1024 * GIB),
    "backup_every_ms": (1_000, _YEARS),
    "backup_keep": (0, _MANY),
    "archive_keep_bytes": (0, 1024 * 1024 * GIB),
    "frame_bytes_max": (1 * KIB, GIB),
    "data_bytes_max": (1, GIB),
    "preauth_frame_bytes_max": (256, GIB),
    "reply_bytes_max": (1 * KIB, GIB),
    "tick_bytes_max": (1 * KIB, GIB),
    "in_flight_bytes_max": (1 * KIB, 16 * GIB),
    "in_flight_requests_max": (1, _MANY),
    "idempotency_keys_max": (0, _MANY),
    "idempotency_bytes_max": (0, 1024 * GIB),
    "max_batch": (1, 1_000_000),
    "name_bytes_max": (1, 64 * KIB),
    "text_bytes_max": (1, MIB),
    "tags_max": (0, 100_000),
    "depends_on_max": (0, 1_000_000),
    "nesting_max": (1, 990),
    "queues_max": (1, _MANY),
}
"""Inclusive; every other duration is 0 to ten years."""


def is_duration(name: str) -> bool:
    """Whether a field is a number of milliseconds."""
    return "_ms" in name


def is_size(name: str) -> bool:
    """Whether a field is a number of bytes."""
    return "bytes" in name or name == "max_memory"


def allowed(name: str) -> str:
    """What a field's value may be, in words."""
    kind = FIELDS[name]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if kind in (int, float):
        low, high = bounds(name)
        if is_size(name):
            return f"a size from {show_size(int(low))} to {show_size(int(high))}, such as 1048576 or 64MiB"
        if is_duration(name):
            return f"a duration from {show_duration(int(low))} to {show_duration(int(high))}, such as 500, 30s or 10m"
        return f"a {'whole number' if kind is int else 'number'} from {low} to {high}"
    if kind is bool:
        return "true or false"
    return {
        "auth_tokens": "a list of texts, or one text with commas",
        "webhook_allow": "a list of networks, addresses and host names, or one text with commas",
        "database_url": database_url.ALLOWED,
        "otel_endpoint": "an http or https URL, or nothing",
    }.get(name, "a text" if name in _TEXTS else "a path")


_TEXTS: Final = frozenset({"host", "cors_allow_origin", "archive_key"})
_LISTS: Final = frozenset({"auth_tokens", "webhook_allow"})
SECRETS: Final = frozenset({"auth_tokens", "database_url", "archive_key"})
"""Settings whose values nobody is shown as they are."""


def bounds(name: str) -> tuple[float, float]:
    """The least and the largest value of a number."""
    return _BOUNDS.get(name, (0, _YEARS))


def _parse(name: str, value: object, source: Source) -> object:
    """A raw value (text, or what TOML gives) in the field's type. Raises ConfigError."""
    try:
        converted = _convert(name, FIELDS[name], value)
    except (ValueError, TypeError) as error:
        raise _wrong(name, value, source) from error
    if not _fits(name, FIELDS[name], converted):
        raise _wrong(name, value, source)
    return converted


def _convert(name: str, kind: Any, value: object) -> object:
    if kind is bool:
        return _boolean(value)
    if kind in (int, float):
        return _number(name, kind, value)
    if name in _LISTS:
        return _tokens(value)
    if not isinstance(value, (str, Path)):
        raise TypeError
    if kind is str or get_origin(kind) is Literal:
        return str(value)
    if not str(value):
        return None if get_origin(kind) is types.UnionType else _DERIVED
    return Path(value)


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError


def _number(name: str, kind: type[int] | type[float], value: object) -> int | float:
    if isinstance(value, str):
        if is_duration(name):
            return parse_duration_ms(value)
        return parse_size(value) if is_size(name) else kind(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise TypeError
    return value


def _tokens(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise TypeError
    return tuple(part.strip() for part in parts if part.strip())


def _wrong(name: str, value: object, source: Source = "") -> ConfigError:
    shown = "(hidden)" if name in SECRETS else str(value) if isinstance(value, Path) else repr(value)
    where = f" ({source})" if source else ""
    return ConfigError(f"{name} = {shown}{where}: allowed is {allowed(name)}")


# --- the whole -------------------------------------------------------------------------------------------------------


def _check(settings: Settings) -> None:
    """Bounds of each field, then what must hold between fields. Raises ConfigError."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        if not _fits(each.name, FIELDS[each.name], value):
            raise _wrong(each.name, value)
    _check_paths(settings)
    if settings.database_url:
        database_url.parse(settings.database_url)
        if settings.durability == "memory":
            raise ConfigError('durability = "memory": nothing would be in the database that database_url names')
    if settings.backup_dir is not None:
        _check_backups(settings, settings.backup_dir)
    if settings.archive_dir is not None and (settings.database_url or settings.durability == "memory"):
        where = "in the database, which has its own" if settings.database_url else "nowhere with durability memory"
        raise ConfigError(f"archive_dir = {settings.archive_dir}: the journal to be archived is {where}")
    if settings.archive_dir is not None and settings.data in (settings.archive_dir, *settings.archive_dir.parents):
        raise ConfigError(f"archive_dir = {settings.archive_dir}: it may not lie in data = {settings.data}")
    if settings.data_bytes_max > settings.frame_bytes_max:
        raise ConfigError(
            f"data_bytes_max = {settings.data_bytes_max}: at most frame_bytes_max = {settings.frame_bytes_max}"
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ConfigError("tls_cert and tls_key go together: set both, or neither")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        raise ConfigError(f"tls_client_ca = {settings.tls_client_ca}: it needs tls_cert and tls_key beside it")
    if not (_asks_who(settings) or settings.insecure or _is_loopback(settings.host)):
        raise ConfigError(
            f"host = {settings.host!r}: others can reach this address, so set auth_tokens, make a token by "
            "`flashq auth create`, or set tls_client_ca (or insecure = true, which lets everybody in)"
        )


def _check_backups(settings: Settings, folder: Path) -> None:
    if settings.database_url or settings.durability == "memory":
        where = "in the database, which has its own backups" if settings.database_url else "nowhere (memory)"
        raise ConfigError(f"backup_dir = {folder}: what is to be backed up is {where}")
    if settings.data in (folder, *folder.parents):
        raise ConfigError(f"backup_dir = {folder}: it may not lie in data = {settings.data}")


def _fits(name: str, kind: Any, value: object) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind in (int, float):
        low, high = bounds(name)
        return isinstance(value, (int, kind)) and not isinstance(value, bool) and low <= value <= high
    if name == "webhook_allow":
        return isinstance(value, tuple) and all(map(_is_target, value))
    if name == "otel_endpoint":
        return not value or _is_web_url(str(value))
    return name != "host" or bool(value)


def _is_web_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z_-])?[a-z0-9_.-]*\.?", re.IGNORECASE)


def _is_target(text: str) -> bool:
    """Whether it is a network, an address or a host's name."""
    try:
        return bool(ipaddress.ip_network(text))
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None and any(c.isalpha() for c in text)


def _check_paths(settings: Settings) -> None:
    if settings.unix_socket is not None and len(os.fsencode(settings.unix_socket)) > UNIX_PATH_BYTES_MAX:
        raise ConfigError(f"unix_socket = {settings.unix_socket}: allowed are {UNIX_PATH_BYTES_MAX} bytes")
    if len(os.fsencode(settings.run)) > RUN_BYTES_MAX:
        raise ConfigError(f"run = {settings.run}: allowed are {RUN_BYTES_MAX} bytes, as the sockets in it must fit too")


def _asks_who(settings: Settings) -> bool:
    """Whether nobody is let in of whom nothing is known."""
    book = settings.data / "tokens" / "tokens.json"
    return bool(settings.auth_tokens) or settings.tls_client_ca is not None or book.is_file()


def is_open_to_others(settings: Settings) -> bool:
    """Whether what is said can be heard on a network: an address that is not this machine's, without TLS."""
    return settings.tls_cert is None and not _is_loopback(settings.host)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
