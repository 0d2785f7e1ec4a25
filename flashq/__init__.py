"""flashq: a job queue server, and its client.

`import flashq` loads nothing else; each public name brings its module when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flashq import errors as errors
    from flashq.client.client import Client as Client
    from flashq.client.objects import Job as Job
    from flashq.client.queue import Queue as Queue
    from flashq.client.sync import SyncClient as SyncClient
    from flashq.client.worker import Worker as Worker
    from flashq.errors import ConfigError as ConfigError
    from flashq.errors import FlashqError as FlashqError
    from flashq.errors import JobNotFound as JobNotFound
    from flashq.errors import LeaseLost as LeaseLost
    from flashq.errors import RequestError as RequestError
    from flashq.errors import StorageError as StorageError
    from flashq.errors import Unavailable as Unavailable

__version__ = "0.1.0"

_HOMES: Final = {
    "Client": "flashq.client.client",
    "Job": "flashq.client.objects",
    "Queue": "flashq.client.queue",
    "SyncClient": "flashq.client.sync",
    "Worker": "flashq.client.worker",
    "ConfigError": "flashq.errors",
    "FlashqError": "flashq.errors",
    "JobNotFound": "flashq.errors",
    "LeaseLost": "flashq.errors",
    "RequestError": "flashq.errors",
    "StorageError": "flashq.errors",
    "Unavailable": "flashq.errors",
}

__all__ = [
    "Client",
    "ConfigError",
    "FlashqError",
    "Job",
    "JobNotFound",
    "LeaseLost",
    "Queue",
    "RequestError",
    "StorageError",
    "SyncClient",
    "Unavailable",
    "Worker",
    "__version__",
    "errors",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("flashq.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'flashq' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
