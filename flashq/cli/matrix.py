"""The matrix: every door, all that can be asked there, and which role may. Made from the tables doors work by."""

from collections.abc import Iterator
from typing import NamedTuple

from flashq.access.needs import CALLS, COMMANDS, OPEN, STREAMS, Need, On, need_of_page
from flashq.access.scopes import ROLES, Reach, scopes_of


class Row(NamedTuple):
    """One thing that can be asked at one door."""

    door: str
    route: str
    need: Need
    roles: dict[str, bool]
    """Role, over all queues -> whether it may."""


def rows() -> Iterator[Row]:
    """All of them, in the order of the tables."""
    # What HTTP stands on is large, and no other command needs it.
    from flashq.api.http.pages.all import PAGES
    from flashq.api.http.table import ROUTES

    for command, need in COMMANDS.items():
        yield _row("TCP, Unix", command, need)
    for route in ROUTES:
        for path in (route.path, *route.also):
            yield _row("HTTP", f"{route.method} {path}", COMMANDS[route.command])
    for page in PAGES:
        yield _row("HTTP", f"{page.method} {page.path}", need_of_page(page.method, page.path))
    yield _row("HTTP", "GET /docs", OPEN)
    for command, need in COMMANDS.items():
        if command not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            yield _row("HTTP", f"POST /api/command {command}", need)
    for stream, need in STREAMS.items():
        door, _, path = stream.partition(" ")
        yield _row("WebSocket" if door == "WS" else "SSE", f"GET {path}", need)
    for call, command in CALLS.items():
        yield _row("gRPC", f"QueueService/{call}", COMMANDS[command])
    for call in ("Command", "Session"):
        for command, need in COMMANDS.items():
            if command not in ("SUBSCRIBE", "UNSUBSCRIBE"):
                yield _row("gRPC", f"CommandService/{call} {command}", need)


def _row(door: str, route: str, need: Need) -> Row:
    return Row(door, route, need, {role: may(role, need) for role in ROLES})


def may(role: str, need: Need) -> bool:
    """Whether a role over all queues has what is needed."""
    return need.on is On.NOTHING or Reach(scopes_of(role, (), ())).covers_every(need.verb)
