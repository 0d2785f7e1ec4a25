"""What is said to each kind of server: requests as bytes, and what their replies hold.

A dialect knows no socket and no clock. All have the same jobs of 92 bytes, so that the same work is measured.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

PAYLOAD_BYTES: Final = 92


def payload(number: int) -> bytes:
    """A job's data: 92 bytes of JSON, another for each number below ten million."""
    return b'{"to":"user%07d@example.org","kind":"welcome","lang":"en","tries":0,"trace":"0123456789"}' % number


class Dialect(Protocol):
    """How one kind of server is talked to."""

    batch: int
    """Jobs taken and finished at a time, in one request or as pipelined ones."""
    lines_a_job: int
    """Lines of reply that deliver one job, where jobs are taken one by one."""
    lines_a_push_batch: int
    """Lines of reply to `push_batch` of a thousand."""

    def greeting(self, queue: str) -> tuple[bytes, int]:
        """What a connection says first so as to use a queue, and the lines of reply to it."""

    def push(self, queue: str, number: int) -> bytes: ...

    def push_batch(self, queue: str, first: int, count: int) -> bytes:
        """Many jobs in one write."""

    def pushed(self, replies: bytes) -> list[int]:
        """The ids that replies to pushes say. Raises ValueError if one was refused."""

    def pull(self, queue: str) -> bytes:
        """Take one job, waiting for it if there is none."""

    def pull_batch(self, queue: str) -> bytes:
        """Take up to `batch` jobs, without waiting."""

    def lines_a_pull_batch(self, count: int) -> int:
        """Lines of reply to `pull_batch`, if `count` jobs come."""

    def pulled(self, replies: bytes) -> list[int]:
        """The ids of jobs delivered."""

    def ack(self, job_id: int) -> bytes: ...

    def ack_batch(self, ids: Sequence[int]) -> bytes: ...

    def lines_an_ack_batch(self, count: int) -> int: ...

    def acked(self, replies: bytes, count: int) -> None:
        """Raises ValueError unless so many jobs were finished."""


class Flashq:
    """JSON lines (docs/protocol.md)."""

    batch = 1000
    lines_a_job = 1
    lines_a_push_batch = 1
    _IDS: Final = re.compile(rb'"id":(\d+)')
    _BATCH_IDS: Final = re.compile(rb'"ids":\[([\d,\s]*)\]')
    _COUNTS: Final = re.compile(rb'"ids":\[(\d+)\]')

    def greeting(self, queue: str) -> tuple[bytes, int]:
        return b"", 0

    def push(self, queue: str, number: int) -> bytes:
        return b'{"cmd":"PUSH","queue":"%b","data":%b}\n' % (queue.encode(), payload(number))

    def push_batch(self, queue: str, first: int, count: int) -> bytes:
        jobs = b",".join(b'{"data":%b}' % payload(number) for number in range(first, first + count))
        return b'{"cmd":"PUSHB","queue":"%b","jobs":[%b]}\n' % (queue.encode(), jobs)

    def pushed(self, replies: bytes) -> list[int]:
        self.check_ok(replies)
        batches = self._BATCH_IDS.findall(replies)
        if batches:
            return [int(text) for batch in batches for text in batch.split(b",") if text]
        return list(map(int, self._IDS.findall(replies)))

    def pull(self, queue: str) -> bytes:
        return b'{"cmd":"PULL","queue":"%b","timeout":10000}\n' % queue.encode()

    def pull_batch(self, queue: str) -> bytes:
        return b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":0}\n' % (queue.encode(), self.batch)

    def lines_a_pull_batch(self, count: int) -> int:
        return 1

    def pulled(self, replies: bytes) -> list[int]:
        self.check_ok(replies)
        # No payload of ours has the key "id" in it.
        return list(map(int, self._IDS.findall(replies)))

    def ack(self, job_id: int) -> bytes:
        return b'{"cmd":"ACK","id":%d}\n' % job_id

    def ack_batch(self, ids: Sequence[int]) -> bytes:
        return b'{"cmd":"ACKB","ids":[%b]}\n' % b",".join(b"%d" % job_id for job_id in ids)

    def lines_an_ack_batch(self, count: int) -> int:
        return 1

    def acked(self, replies: bytes, count: int) -> None:
        self.check_ok(replies)
        batches = self._COUNTS.findall(replies)
        finished = sum(map(int, batches)) if batches else replies.count(b"\n")
        if finished != count:
            raise ValueError(f"{finished} of {count} jobs were finished: {replies[:200]!r}")

    @staticmethod
    def check_ok(replies: bytes) -> None:
        """Raises ValueError if one of these replies is a refusal."""
        if replies.count(b'"ok":true') != replies.count(b"\n"):
            at = max(replies.find(b'"ok":false'), 0)
            raise ValueError(f"refused: {replies[max(at - 20, 0) : at + 200]!r}")


class Echo(Flashq):
    """Any request comes back as it is. So only pushes are ever sent to it, and no reply is looked into."""


class Beanstalkd:
    """beanstalkd's text protocol. It has no batches: a thousand puts go in one write, a hundred reserves or deletes."""

    batch = 100
    lines_a_job = 2
    lines_a_push_batch = 1000
    _INSERTED: Final = re.compile(rb"INSERTED (\d+)\r\n")
    _RESERVED: Final = re.compile(rb"RESERVED (\d+) ")

    def greeting(self, queue: str) -> tuple[bytes, int]:
        name = queue.encode()
        return b"use %b\r\nwatch %b\r\nignore default\r\n" % (name, name), 3

    def push(self, queue: str, number: int) -> bytes:
        return b"put 0 0 600 %d\r\n%b\r\n" % (PAYLOAD_BYTES, payload(number))

    def push_batch(self, queue: str, first: int, count: int) -> bytes:
        return b"".join(self.push(queue, number) for number in range(first, first + count))

    def pushed(self, replies: bytes) -> list[int]:
        ids = list(map(int, self._INSERTED.findall(replies)))
        if len(ids) != replies.count(b"\n"):
            raise ValueError(f"refused: {self._INSERTED.sub(b'', replies)[:200]!r}")
        return ids

    def pull(self, queue: str) -> bytes:
        return b"reserve-with-timeout 10\r\n"

    def pull_batch(self, queue: str) -> bytes:
        return b"reserve-with-timeout 0\r\n" * self.batch

    def lines_a_pull_batch(self, count: int) -> int:
        return count + self.batch  # a line and a body for each job, a line for each that is missing

    def pulled(self, replies: bytes) -> list[int]:
        return list(map(int, self._RESERVED.findall(replies)))

    def ack(self, job_id: int) -> bytes:
        return b"delete %d\r\n" % job_id

    def ack_batch(self, ids: Sequence[int]) -> bytes:
        return b"".join(b"delete %d\r\n" % job_id for job_id in ids)

    def lines_an_ack_batch(self, count: int) -> int:
        return count

    def acked(self, replies: bytes, count: int) -> None:
        if replies != b"DELETED\r\n" * count:
            raise ValueError(f"not all of {count} jobs were deleted: {replies[:200]!r}")
