"""flashq queues, count, pause, resume."""

import typer

from flashq.cli.jobs import QueueArgument
from flashq.cli.options import (
    ADDRESS_DEFAULT,
    TIMEOUT_DEFAULT,
    AddressOption,
    JsonOption,
    TimeoutOption,
    TokenOption,
    connected,
)
from flashq.cli.output import say, say_json, say_table, told


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Example: flashq queues --json")(queues)
    app.command(epilog="Example: flashq count mail")(count)
    app.command(epilog="Example: flashq pause mail")(pause)
    app.command(epilog="Example: flashq resume mail")(resume)


def queues(
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Every queue in figures."""
    with told(), connected(address, token, request_timeout) as client:
        found = sorted(client.list_queues(), key=lambda queue: queue.name)
    if as_json:
        say_json(found)
        return
    columns = ("queue", "waiting", "delayed", "active", "completed", "dead", "")
    rows = [
        (q.name, q.pending, q.delayed, q.processing, q.completed, q.dlq, "paused" if q.paused else "") for q in found
    ]
    say_table(columns, rows)


def count(
    queue: QueueArgument,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Number of jobs that wait in a queue, the delayed ones among them."""
    with told(), connected(address, token, request_timeout) as client:
        waiting = client.count(queue)
    say_json({"count": waiting}) if as_json else say(str(waiting))


def pause(
    queue: QueueArgument,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Deliver nothing from a queue until it is resumed."""
    with told(), connected(address, token, request_timeout) as client:
        client.pause(queue)
    say_json({"ok": True}) if as_json else say("OK")


def resume(
    queue: QueueArgument,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Deliver again from a paused queue."""
    with told(), connected(address, token, request_timeout) as client:
        client.resume(queue)
    say_json({"ok": True}) if as_json else say("OK")
