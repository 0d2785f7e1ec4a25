"""WEBHOOK, WEBHOOKDELETE, WEBHOOKLIST, WEBHOOKDELIVERIES, WEBHOOKRESEND.

A webhook is made or removed in slot 0; the reply is given when every shard that serves knows of it, so that whoever
then pushes a job is sure that it is told of. A shard that is down learns of it from the outbox when it is back.
"""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.engine import hook_deliveries, webhooks
from flashq.engine.hook_lines import Delivery, Line
from flashq.engine.validation import check_queue_name
from flashq.errors import InvalidArgument, JobNotFound, LimitExceeded
from flashq.protocol import commands as c
from flashq.protocol.happenings import kinds_of
from flashq.protocol.web_targets import checked_url
from flashq.shard import internal
from flashq.shard.gathering import Part, all_or_unavailable, everywhere
from flashq.shard.spreading import other_slots, when_known
from flashq.shard.verbs import Fields, Request, Verb

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

SECRET_BYTES_MAX: Final = 512
EVENTS_MAX: Final = 32
SHOWN_MAX: Final = 1_000
MASK: Final = "********"
_COUNTS: Final = ("waiting", "failed", "delivered", "dropped")
Views = list[dict[str, Any]]


def at_home(command: Any) -> int:
    """What belongs to the cluster is decided in one place."""
    return webhooks.HOME


def _make(here: "ShardDispatcher", request: Request) -> None:
    command = request.command
    url = checked_url(command.url, here.allowed)
    if not command.events or len(command.events) > EVENTS_MAX:
        raise InvalidArgument(f"invalid value: `events` has {len(command.events)} names, allowed are 1 to {EVENTS_MAX}")
    kinds_of(command.events)
    if command.queue is not None:
        check_queue_name(command.queue)
    secret = command.secret or ""
    size = len(secret.encode("utf-8", "surrogatepass"))
    if size > SECRET_BYTES_MAX:
        raise LimitExceeded(f"`secret` too long ({size} bytes, max {SECRET_BYTES_MAX} bytes)")
    hook = webhooks.make(here.engine, url, command.events, command.queue, secret, other_slots(here))
    later = request.hold()
    when_known(here, hook, lambda: later.reply({"id": webhooks.name_of(hook)}))


def _remove(here: "ShardDispatcher", request: Request) -> None:
    line = webhooks.find(here.engine, request.command.webhook_id)
    version = webhooks.remove(here.engine, line.hook.id, other_slots(here))
    later = request.hold()
    when_known(here, version, lambda: later.reply({}))


def _list(here: "ShardDispatcher", request: Request) -> Fields | None:
    def mine() -> Fields:
        return {"webhooks": [_hook_view(line) for line in here.engine.hooks.lines.values()]}

    if request.local:
        return mine()
    everywhere(here, request, mine, _merged)
    return None


def _hook_view(line: Line) -> dict[str, Any]:
    hook = line.hook
    return {
        "id": webhooks.name_of(hook.id), "url": hook.url, "events": hook.events, "queue": hook.queue,
        "secret": MASK if hook.secret else None, "created_at": hook.created_at, "waiting": len(line.waiting),
        "failed": len(line.failed), "delivered": line.delivered, "dropped": line.dropped,
    }  # fmt: skip


def _merged(parts: list[Part], silent: list[int]) -> Fields:
    """Every shard knows all; what each has delivered is summed."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for view in part.get("webhooks", Views):
            first = found.setdefault(view["id"], view)
            if first is not view:
                for name in _COUNTS:
                    first[name] += view[name]
    return {"webhooks": sorted(found.values(), key=lambda view: int(view["id"].removeprefix(webhooks.PREFIX)))}


def _deliveries(here: "ShardDispatcher", request: Request) -> Fields | None:
    command = request.command
    state = command.state if command.state is not None else "failed"
    if state not in ("failed", "waiting"):
        raise InvalidArgument(f"invalid value: `state` is '{state[:64]}', allowed are 'failed' and 'waiting'")
    line = webhooks.find(here.engine, command.webhook_id)
    limit = min(100 if command.limit is None else command.limit, SHOWN_MAX)

    def mine() -> Fields:
        shown = sorted((line.failed if state == "failed" else line.waiting).values(), key=lambda one: one.no)
        return {"deliveries": [_delivery_view(one, state) for one in shown[:limit]], "total": len(shown)}

    def merged(parts: list[Part], silent: list[int]) -> Fields:
        views = [view for part in parts for view in part.get("deliveries", Views)]
        views.sort(key=lambda view: view["timestamp"])
        return {"deliveries": views[:limit], "total": sum(part.get("total", int, 0) for part in parts)}

    if request.local:
        return mine()
    everywhere(here, request, mine, merged)
    return None


def _delivery_view(delivery: Delivery, state: str) -> dict[str, Any]:
    what = delivery.happening
    return {
        "delivery_id": delivery_name(delivery.hook, delivery.no), "state": state, "event": what.kind,
        "queue": what.queue, "job_id": what.job_id, "timestamp": what.at_ms, "attempts": delivery.attempts,
        "error": delivery.error or None, "next_at": delivery.next_at or None,
    }  # fmt: skip


def delivery_name(hook: int, no: int) -> str:
    """A delivery as its receiver and clients see it."""
    return f"{webhooks.name_of(hook)}-{no}"


def _resend(here: "ShardDispatcher", request: Request) -> Fields | None:
    command = request.command
    line = webhooks.find(here.engine, command.webhook_id)
    no: int | None = None
    if command.delivery_id is not None:
        prefix, _, digits = command.delivery_id.rpartition("-")
        if prefix != webhooks.name_of(line.hook.id) or not (digits.isascii() and digits.isdigit()):
            raise JobNotFound("Delivery not found among the failed ones")
        no = int(digits[:20])

    def mine() -> Fields:
        if no is not None and no not in line.failed:
            return {"count": 0}
        return {"count": hook_deliveries.send_again(here.engine, line.hook.id, no)}

    def merged(parts: list[Part], silent: list[int]) -> Fields:
        all_or_unavailable(silent)
        count = sum(part.get("count", int, 0) for part in parts)
        if no is not None and not count:
            raise JobNotFound("Delivery not found among the failed ones")
        return {"count": count}

    if request.local:
        return mine()
    everywhere(here, request, mine, merged)
    return None


# -- the sender, and shards that wait for each other


def _hooks_at(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    return here.hook_desk.wait_known(msgspec.convert(value, int), way)


def _take(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    most, each, size, skip, held = msgspec.convert(
        value, tuple[int, int, int, list[int], list[tuple[int, int]] | None]
    )  # fmt: skip
    return here.hook_desk.take(most, each, size, skip, held)


def _tried(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    hook_deliveries.report(here.engine, msgspec.convert(value, list[tuple[int, int, int, str]]))
    return True


internal.WORDS["hooks_at"] = _hooks_at
internal.WORDS["hooks_take"] = _take
internal.WORDS["hooks_tried"] = _tried
VERBS: Final[dict[type[Any], Verb]] = {
    c.Webhook: Verb(_make, at_home, keyed=True),
    c.WebhookDelete: Verb(_remove, at_home, keyed=True),
    c.WebhookList: Verb(_list),
    c.WebhookDeliveries: Verb(_deliveries),
    c.WebhookResend: Verb(_resend, keyed=True),
}
