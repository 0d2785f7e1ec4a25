"""What a queue may be called."""

from typing import Final

from flashq.errors import InvalidArgument

QUEUE_BYTES_MAX: Final = 256
_PUNCTUATION: Final = frozenset("_-.")


def check_queue_name(name: str) -> None:
    """Raise InvalidArgument unless it is 1–256 bytes of letters, digits, `_`, `-`, `.` in any script."""
    if not name:
        raise InvalidArgument("Queue name cannot be empty")
    if len(name.encode("utf-8", "surrogatepass")) > QUEUE_BYTES_MAX:
        raise InvalidArgument("Queue name too long (max 256 chars)")
    if not name.isalnum() and not all(c.isalnum() or c in _PUNCTUATION for c in name):
        raise InvalidArgument("Queue name must contain only alphanumeric characters, underscores, hyphens, or dots")
    if name.startswith("__"):
        raise InvalidArgument(f"Queue name '{name[:64]}' is reserved: names must not start with '__'")
