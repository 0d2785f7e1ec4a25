"""What starts and stops keeps one contract."""

from typing import Protocol


class Service(Protocol):
    """Something with a life of its own inside a process."""

    async def start(self) -> None:
        """Returns when it runs. A second call does nothing."""

    async def stop(self) -> None:
        """Returns when it has ended. A second call does nothing, nor does a call before `start`."""
