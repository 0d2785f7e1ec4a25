"""Commands about webhooks."""

from typing import Final

from flashq.protocol.command_base import U64, Command


class Webhook(Command, tag="WEBHOOK", kw_only=True):
    """`events`: their names, with or without `job.` before them, or `*`."""

    url: str
    events: list[str]
    queue: str | None = None
    secret: str | None = None


class WebhookDelete(Command, tag="WEBHOOKDELETE", kw_only=True, gc=False):
    webhook_id: str


class WebhookList(Command, tag="WEBHOOKLIST", kw_only=True, gc=False):
    pass


class WebhookDeliveries(Command, tag="WEBHOOKDELIVERIES", kw_only=True, gc=False):
    webhook_id: str
    state: str | None = None
    limit: U64 | None = None


class WebhookResend(Command, tag="WEBHOOKRESEND", kw_only=True, gc=False):
    webhook_id: str
    delivery_id: str | None = None


class Incoming(Command, tag="INCOMING", kw_only=True, gc=False):
    """`scheme`: one of `SCHEMES`."""

    queue: str
    secret: str
    scheme: str | None = None


class IncomingDelete(Command, tag="INCOMINGDELETE", kw_only=True, gc=False):
    queue: str


class IncomingList(Command, tag="INCOMINGLIST", kw_only=True, gc=False):
    pass


SCHEMES: Final = ("flashq", "github", "stripe", "body", "token")
"""How a request that comes in proves who sent it (api/webhooks/proofs.py)."""
__all__ = [
    "SCHEMES",
    "Incoming",
    "IncomingDelete",
    "IncomingList",
    "Webhook",
    "WebhookDelete",
    "WebhookDeliveries",
    "WebhookList",
    "WebhookResend",
]
