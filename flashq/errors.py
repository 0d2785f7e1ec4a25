"""Errors say whose fault it was and what can be done now.

FlashqError
├─ RequestError    the caller's doing; the same request will fail again
│    MalformedFrame  Unauthenticated  Forbidden  UnknownCommand  InvalidArgument  LimitExceeded  Duplicate  Debounced
│    JobNotFound  TokenNotFound  JobFailed  LeaseLost  IllegalTransition
├─ Unavailable     nobody's doing; the same request may succeed later
│    ShardDown  Draining  OutOfMemory  RateLimited  LockedOut  DeadlineExceeded (which deadline is part of the message)
├─ StorageError    what is written cannot be reached or trusted: DiskFull  JournalCorrupt  CheckpointTooNew  Fenced
└─ ConfigError     we do not start

Every class has a `code`, stable on the wire. Texts of requests' errors begin as existing clients
expect them (docs/protocol.md, "Error classes").
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class FlashqError(Exception):
    """Anything that flashq raises on purpose."""

    code: ClassVar[str] = "internal"
    details: Mapping[str, Any] = {}
    """Further keys of the reply."""


class RequestError(FlashqError):
    """The request is at fault: sent again, it will fail again."""

    code: ClassVar[str] = "invalid"


class MalformedFrame(RequestError):
    """The bytes are no request: framing or syntax is broken. `fatal` when the connection cannot go on."""

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class Unauthenticated(RequestError):
    """No valid token was shown on this connection."""

    code: ClassVar[str] = "unauthenticated"


class Forbidden(RequestError):
    """The token is valid, but does not reach this far."""

    code: ClassVar[str] = "forbidden"


class UnknownCommand(RequestError):
    """Well-formed, but names no command of ours."""


class InvalidArgument(RequestError):
    """A field is missing, of a wrong type or outside what is allowed; the text names it."""


class LimitExceeded(RequestError):
    """Larger than a configured limit; the text names value and limit."""

    code: ClassVar[str] = "too_large"


class Duplicate(RequestError):
    """A live job holds this unique key."""

    code: ClassVar[str] = "duplicate"


class Debounced(RequestError):
    """A job with this debounce id was accepted a moment ago."""

    code: ClassVar[str] = "debounced"


class JobNotFound(RequestError):
    """No such job, or it is not in a state this command works on."""

    code: ClassVar[str] = "not_found"


class TokenNotFound(RequestError):
    """No token of this name that is not revoked."""

    code: ClassVar[str] = "not_found"


class JobFailed(RequestError):
    """The job that was waited for has died; `details` say of what."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str = "Job failed", reason: str | None = None) -> None:
        super().__init__(message)
        self.details = {"reason": reason}


class LeaseLost(RequestError):
    """The token sent is not the job's latest: another worker has it. Nothing was changed."""

    code: ClassVar[str] = "lease_lost"


class IllegalTransition(RequestError):
    """The job exists, but its state does not allow this."""


class Unavailable(FlashqError):
    """Not now: nothing is wrong with the request, and it may succeed later."""

    code: ClassVar[str] = "unavailable"


class ShardDown(Unavailable):
    """The shard that owns the queue does not answer just now; it is being restarted."""


class Draining(Unavailable):
    """The server is stopping and takes no new commands."""


class OutOfMemory(Unavailable):
    """The memory budget is used up: pushes are refused until jobs are worked off."""


class RateLimited(Unavailable):
    """The client asks more often than it may."""


class LockedOut(Unavailable):
    """Too many wrong tokens came from this address: for a while none of it is looked at."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"Too many wrong tokens from this address, retry after: {-(-wait_ms // 1000)} s")
        self.wait_ms = wait_ms


class DeadlineExceeded(Unavailable):
    """A deadline passed; the text says which. What was asked may or may not have happened."""

    code: ClassVar[str] = "timeout"


class StorageError(FlashqError):
    """What is written cannot be reached or cannot be trusted."""


class DiskFull(StorageError):
    """The device has no room: the shard refuses pushes and goes on by itself once there is room."""

    code: ClassVar[str] = "unavailable"


class JournalCorrupt(StorageError):
    """Bytes that were promised are damaged. The shard stays down; shard, file and offset are in the text."""


class CheckpointTooNew(StorageError):
    """The data was written by a later version of flashq."""


class Fenced(StorageError):
    """A newer epoch owns this shard: this process must not write any more."""


class ConfigError(FlashqError):
    """The configuration cannot work: we do not start. The text has name, value and what is allowed."""
