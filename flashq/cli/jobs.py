"""flashq push, pull, ack, fail, get."""

import sys
from typing import Annotated, Any

import msgspec
import typer

from flashq.cli.options import (
    ADDRESS_DEFAULT,
    TIMEOUT_DEFAULT,
    AddressOption,
    JsonOption,
    LeaseOption,
    TimeoutOption,
    TokenOption,
    connected,
    duration_ms,
    maybe_duration_ms,
)
from flashq.cli.output import REFUSED, end, say, say_json, say_pairs, told
from flashq.client.objects import Job, PushOptions
from flashq.errors import ConfigError

QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")]
IdArgument = Annotated[int, typer.Argument(metavar="ID", help="Id of the job.", min=1)]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog='Example: flashq push mail \'{"to":"a"}\' --delay 10s --priority 5')(push)
    app.command(epilog="Example: flashq pull mail --timeout 30s --json")(pull)
    app.command(epilog="Example: flashq ack 1024 --result '{\"sent\":true}' --lease 77")(ack)
    app.command(epilog="Example: flashq fail 1024 'mailbox is full' --lease 77")(fail)
    app.command(epilog="Example: flashq get 1024 --json")(get)


def push(
    queue: QueueArgument,
    data: Annotated[str, typer.Argument(metavar="JSON", help="What the job is about; - reads standard input.")],
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    delay: Annotated[str | None, typer.Option(help="Not before this long from now.")] = None,
    ttl: Annotated[str | None, typer.Option(help="Drop it if it still waits after this long.")] = None,
    timeout: Annotated[str | None, typer.Option(help="It may run this long.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=0, help="Failures until it is dead; 0: never.")] = None,
    backoff: Annotated[str | None, typer.Option(help="Base of the retry delay, which doubles.")] = None,
    lifo: Annotated[bool, typer.Option("--lifo", help="Before the waiting jobs of its priority.")] = False,
    remove_on_complete: Annotated[bool, typer.Option("--remove-on-complete", help="Keep nothing once done.")] = False,
    remove_on_fail: Annotated[bool, typer.Option("--remove-on-fail", help="Keep no dead letter.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="Kept with the job; may be repeated.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again adds nothing.")] = None,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Add a job; prints its id once it is safe."""
    with told():
        given = {
            "priority": priority,
            "delay_ms": maybe_duration_ms("--delay", delay),
            "ttl_ms": maybe_duration_ms("--ttl", ttl),
            "timeout_ms": maybe_duration_ms("--timeout", timeout),
            "max_attempts": max_attempts,
            "backoff_ms": maybe_duration_ms("--backoff", backoff),
            "lifo": lifo or None,
            "remove_on_complete": remove_on_complete or None,
            "remove_on_fail": remove_on_fail or None,
            "tags": tag or None,
            "idempotency_key": idempotency_key,
        }
        options = msgspec.convert({name: value for name, value in given.items() if value is not None}, PushOptions)
        payload = _json("JSON", sys.stdin.read() if data == "-" else data)
        with connected(address, token, request_timeout) as client:
            job_id = client.push(queue, payload, **options)
    say_json({"id": job_id}) if as_json else say(str(job_id))


def pull(
    queue: QueueArgument,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Up to so many, as a list.")] = None,
    timeout: Annotated[str, typer.Option(help="Wait this long for a job; 0 only looks.")] = "0",
    lease: Annotated[str | None, typer.Option(help="Keep the job this long; unset: as the server says.")] = None,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Take a job. It stays yours until ack, fail, or the end of its lease. Exit code 1 if there is none."""
    with told():
        wait_ms, lease_ms = duration_ms("--timeout", timeout), maybe_duration_ms("--lease", lease)
        with connected(address, token, request_timeout) as client:
            pulled = client.pull_batch(queue, count or 1, timeout_ms=wait_ms, lease_ms=lease_ms)
    if not pulled:
        end(REFUSED, f"no job in {queue}")
    if as_json:
        say_json(pulled[0] if count is None else pulled)
        return
    for job in pulled:
        say(f"job {job.id}  lease {job.lease}  failures {job.attempts}")
        say(msgspec.json.encode(job.data).decode())


def ack(
    job_id: IdArgument,
    result: Annotated[str | None, typer.Option(metavar="JSON", help="What came of it.")] = None,
    lease: LeaseOption = None,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """The job is done."""
    with told():
        value = None if result is None else _json("--result", result)
        with connected(address, token, request_timeout) as client:
            client.ack(job_id, value, lease=lease)
    _done(as_json, job_id)


def fail(
    job_id: IdArgument,
    error: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What went wrong.")] = None,
    lease: LeaseOption = None,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """The attempt failed: the job is tried again, or kept as a dead letter."""
    with told(), connected(address, token, request_timeout) as client:
        client.fail(job_id, error, lease=lease)
    _done(as_json, job_id)


def get(
    job_id: IdArgument,
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Everything that is known of a job. Exit code 1 if nothing is."""
    with told(), connected(address, token, request_timeout) as client:
        job = client.get_job(job_id)
    say_json(job) if as_json else say_pairs(_shown(job))


def _done(as_json: bool, job_id: int) -> None:
    say_json({"ok": True, "id": job_id}) if as_json else say("OK")


def _shown(job: Job) -> dict[str, object]:
    """Fields worth a line; payloads as JSON, what was never set left out."""
    built: dict[str, Any] = msgspec.to_builtins(job)
    payloads = {name: msgspec.json.encode(built[name]).decode() for name in ("data", "result")}
    return {name: value for name, value in (built | payloads).items() if value not in (None, 0, False, [], "null")}


def _json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ConfigError(f"{name} = {text[:60]!r} is no JSON ({error}); a text needs quotes: '\"text\"'") from error
