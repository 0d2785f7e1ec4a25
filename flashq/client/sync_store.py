"""The blocking twins of the client's commands about flows, crons and the key-value store, by the same names."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from flashq.client.objects import Cron, FlowChild, FlowIds, PushOptions
from flashq.client.sync_base import Waiting


class SyncFlowCommands(Waiting):
    """As `FlowCommands`."""

    def push_flow(
        self, queue: str, data: object, children: Sequence[FlowChild], **options: Unpack[PushOptions]
    ) -> FlowIds:
        """Add a job that runs when all its children, of any queue, have completed. All of them are added, or none."""
        return self._wait(self._client.push_flow(queue, data, children, **options))

    def set_cron(
        self,
        name: str,
        queue: str,
        data: object = None,
        *,
        schedule: str | None = None,
        repeat_every_ms: int | None = None,
        limit: int | None = None,
        timezone: str | None = None,
        misfire: Literal["once", "skip", "all"] | None = None,
        **options: Unpack[PushOptions],
    ) -> None:
        """Push a job by a schedule; one of that name is replaced."""
        self._wait(
            self._client.set_cron(
                name,
                queue,
                data,
                schedule=schedule,
                repeat_every_ms=repeat_every_ms,
                limit=limit,
                timezone=timezone,
                misfire=misfire,
                **options,
            )
        )

    def delete_cron(self, name: str) -> None:
        """No more of these jobs. Raises JobNotFound."""
        self._wait(self._client.delete_cron(name))

    def list_crons(self) -> list[Cron]:
        """All crons, in no order. Raises Unavailable if a shard does not answer."""
        return self._wait(self._client.list_crons())


class SyncKvCommands(Waiting):
    """As `KvCommands`."""

    def kv_set(self, key: str, value: object, *, ttl_ms: int | None = None) -> None:
        """Store a value, for `ttl_ms` or for good."""
        self._wait(self._client.kv_set(key, value, ttl_ms=ttl_ms))

    def kv_get(self, key: str) -> Any:
        """The value; None if there is none."""
        return self._wait(self._client.kv_get(key))

    def kv_delete(self, key: str) -> bool:
        """Forget it; whether it was there."""
        return self._wait(self._client.kv_delete(key))

    def kv_exists(self, key: str) -> bool:
        """Whether it is there."""
        return self._wait(self._client.kv_exists(key))

    def kv_expire(self, key: str, ttl_ms: int) -> bool:
        """Keep it for `ttl_ms` from now; whether it is there."""
        return self._wait(self._client.kv_expire(key, ttl_ms))

    def kv_ttl(self, key: str) -> int:
        """Milliseconds that it is kept yet; -1 for good, -2 there is none."""
        return self._wait(self._client.kv_ttl(key))

    def kv_increase(self, key: str, by: int = 1) -> int:
        """Add to an integer; what it is then. None there counts as 0. Raises RequestError for other values."""
        return self._wait(self._client.kv_increase(key, by))

    def kv_get_many(self, keys: Sequence[str]) -> list[Any]:
        """The values of at most 1000 keys, in their order; None where there is none."""
        return self._wait(self._client.kv_get_many(keys))

    def kv_set_many(self, entries: Mapping[str, object], *, ttl_ms: int | None = None) -> int:
        """Store at most 1000 values; how many."""
        return self._wait(self._client.kv_set_many(entries, ttl_ms=ttl_ms))

    def kv_keys(self, pattern: str = "*") -> list[str]:
        """The keys that fit (`*` any run, `?` one character), in no order."""
        return self._wait(self._client.kv_keys(pattern))
