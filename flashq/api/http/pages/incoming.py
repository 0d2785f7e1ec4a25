"""Webhooks that come in: a request of another service becomes a job, if it proves who sent it.

A queue that takes none is answered like a wrong proof, so that nobody learns by asking which queues there are. Where no
token is asked for at any door, a queue without a scheme takes whatever comes, as it would at the others.
"""

import time
from typing import Final

import msgspec
import structlog
from fastapi import Response
from msgspec import Raw

from flashq.access.access import ANYONE
from flashq.api.http import examples, fields, shows
from flashq.api.http.failures import JSON_TYPE
from flashq.api.http.pages.page import Asked, Page, Refused
from flashq.api.http.plans import refusal_of
from flashq.api.ways import Command
from flashq.api.webhooks.proofs import JUDGES, Proof
from flashq.errors import Unauthenticated, Unavailable
from flashq.protocol.queue_names import check_queue_name
from flashq.protocol.slots import slot_of_queue
from flashq.transport.forwarding import SHOW_JOB

log = structlog.get_logger()


async def _scheme_of(asked: Asked, queue: str) -> tuple[str, str] | None:
    """Scheme and secret of a queue. Raises Unavailable."""
    shard = asked.host.ways.owner_of(slot_of_queue(queue))
    try:
        answer = await asked.ask_shard(shard, "incoming", queue)
    except Refused as error:
        raise Unavailable(str(error)) from error
    return (str(answer[0]), str(answer[1])) if answer is not None else None


async def _come_in(asked: Asked) -> Response:
    queue, settings = asked.path["queue"], asked.host.settings
    check_queue_name(queue)
    found = await _scheme_of(asked, queue)
    key: str | None = None
    if found is not None:
        scheme, secret = found
        tolerance_s = settings.incoming_tolerance_ms // 1_000
        key = JUDGES[scheme](Proof(secret, asked.headers, asked.body, int(time.time()), tolerance_s))
    elif asked.principal == ANYONE:
        key = ""
    if key is None:
        log.warning("a webhook that came in was refused", client=asked.client.host, queue=queue)
        raise Unauthenticated("Signature missing, wrong or too old, or the queue takes no webhooks")
    body = fields.sound(asked.body)
    command = {"cmd": "PUSH", "queue": queue, "data": Raw(body), **({"idempotency_key": key} if key else {})}
    try:
        frame = msgspec.json.encode(command)
        msgspec.json.decode(body)
    except fields.BAD as error:
        raise fields.malformed(error) from None
    command_ = Command(frame, slot_of_queue(queue), 0, SHOW_JOB)
    reply = await asked.host.ways.ask(asked.client, asked.principal, command_)
    if not reply:
        raise Unavailable("The client has gone")
    if not reply.startswith(b'{"ok":true'):
        refusal = refusal_of(reply)
        raise Refused(refusal.error, refusal.code)
    answer = Response(shows.answer(reply, shows.pushed))
    answer.raw_headers.insert(0, JSON_TYPE)
    return answer


PAGES: Final = [
    Page(method="POST", path="/webhooks/incoming/{queue}", group="Webhooks", serve=_come_in, data=examples.JOB,
         summary="Push what another service sends, if it proves who it is", raw="incoming_bytes_max"),
]  # fmt: skip
