"""PUSH after PUSH on one connection, as one batch: what a client that does not wait for its replies sends.

Lines that came together are decoded in one call and stored in slices, where all of them are plain pushes to one queue
that is known, and nobody waits or listens there. The replies, events and state are those of one by one, which is how
anything else is done; a test holds the two together.
"""

from typing import Final

import msgspec

from flashq.engine import events
from flashq.engine.engine import Engine
from flashq.engine.push import put_plain
from flashq.protocol import commands as c
from flashq.protocol.dispatch import Link

LINES_MIN: Final = 4
_decode_lines: Final = msgspec.json.Decoder(c.PlainPush).decode_lines
_REPLY: Final = b'{"ok":true,"id":%d,"success":true}\n'
_BACKSLASH: Final = 92
_LINE_BYTES: Final = len('{"cmd":"PUSH","queue":"","data":}\n')
_SPARE_MAX: Final = len(',"data":0') - 1
_SPACES: Final = 5
"""In a line whose colons and commas have a space behind them."""


def push_lines(engine: Engine, link: Link, whole: bytes, lines: list[bytes]) -> bool:
    """Carry out `lines`, which `whole` holds, and answer them; False, nothing done, if they are not all alike."""
    n = len(lines)
    if n < LINES_MIN or whole.count(b'"PUSH"') < n or not whole.isascii() or _BACKSLASH in whole:
        return False
    if len(whole) > engine.limits.data_bytes_max or engine.defaults.ttl_ms or engine.defaults.timeout_ms:
        return False
    try:
        commands = _decode_lines(whole)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False  # it is one by one that faults are found and answered
    if len(commands) != n:
        return False
    name = commands[0].queue
    queue = engine.queues.get(name)
    if queue is None or not queue.pushed_total or queue.waiters or queue.heard:
        return False
    for command in commands:
        if command.queue != name or command.reqId is not c.ABSENT:
            return False
    payloads = [bytes(one.data) for one in commands]
    spare = len(whole) - sum(map(len, payloads)) - n * (len(name) + _LINE_BYTES)
    if spare > _SPARE_MAX and not (spare <= _SPARE_MAX + _SPACES * n and whole.startswith(b'{"cmd": ')):
        return False  # there may be a key that stands twice
    ids = [job_id for run in put_plain(engine, queue, 0, payloads) for job_id in run]
    pack, kind, size, out = events.pack_pushed, events.PUSHED, events.PUSHED_BYTES, engine.events
    for job_id, line in zip(ids, lines, strict=True):
        out += (pack(kind, size + len(line), job_id, 1, 0), line)
    engine.promise = True
    link.reply(b"".join([_REPLY % job_id for job_id in ids]))
    return True
