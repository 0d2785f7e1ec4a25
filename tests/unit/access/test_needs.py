"""The table of what is needed for what: nothing can be forgotten in it."""

import json
from pathlib import Path

import pytest

from flashq.access.access import Access
from flashq.access.book import TokenBook
from flashq.access.needs import ADMIN, COMMANDS, PAGES, On, need_of, need_of_page, tag_of
from flashq.access.scopes import ROLES, Verb
from flashq.api.http.pages.all import PAGES as ALL_PAGES
from flashq.api.http.table import ROUTES
from flashq.errors import Forbidden, Unauthenticated
from flashq.protocol import commands as c
from flashq.shard.dispatcher import KEYED


def test_every_command_has_a_row_and_every_row_a_command() -> None:
    """A command without a row would need `admin`, and its users would find out from us."""
    assert set(COMMANDS) == {tag_of(kind) for kind in c.ALL}
    for kind in (*c.ALL, *c.FAST):
        assert need_of(kind) is COMMANDS[tag_of(kind)]


def test_every_row_of_a_page_is_of_a_page() -> None:
    assert set(PAGES) <= {f"{page.method} {page.path}" for page in ALL_PAGES}


def test_every_route_stands_for_a_command_with_a_row() -> None:
    assert {route.command for route in ROUTES} <= set(COMMANDS)


def test_page_without_a_row_needs_admin() -> None:
    assert need_of_page("POST", "/server/shutdown") is ADMIN
    assert need_of_page("GET", "/nothing-we-know") is ADMIN


def test_command_without_a_row_needs_admin() -> None:
    class Forgotten(c.Command, tag="FORGOTTEN", kw_only=True):
        pass

    assert need_of(Forgotten) is ADMIN


def test_what_changes_something_is_never_a_read() -> None:
    """Seen from the other table: what an idempotency key counts for changes something."""
    wrong = {tag_of(kind) for kind in KEYED if need_of(kind).verb in (Verb.READ, Verb.KV_READ)}
    assert wrong == set()


def test_roles_include_each_other_and_the_last_has_all() -> None:
    assert set(ROLES["viewer"]) < set(ROLES["operator"]) < set(ROLES["admin"]) == set(Verb)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    book = TokenBook(tmp_path)
    book.create("some", scopes=("push:mail-*", "work:mail-*", "read:mail-?", "manage:mail-1", "kv_write:k-*"))
    return Access(data=tmp_path)


def _named(command: object) -> str:
    queue = getattr(command, "queue", "")
    return f"{tag_of(type(command))}-{queue}"


def command(cmd: str, **fields: object) -> object:
    return c.full_text(json.dumps({"cmd": cmd, **fields}).encode())


CHILD = {"queue": "mail-2", "children": [{"queue": "mail-3"}]}
ALLOWED = [
    command("PING"), command("PUSH", queue="mail-7", data=1), command("PULL", queue="mail-7"),
    command("FLOW", queue="mail-1", children=[CHILD]), command("COUNT", queue="mail-1"),
    command("GETJOBS", queue="mail-1"), command("KVSET", key="k-1", value=1), command("ACK", id=1),
    command("KVMSET", entries=[{"key": "k-1", "value": 1}]), command("CRON", name="n", queue="mail-1", schedule="*"),
    command("SUBSCRIBE", queue="mail-1"),
]  # fmt: skip
REFUSED = [
    (command("PUSH", queue="post", data=1), "push:post"),
    (command("FLOW", queue="mail-1", children=[{"queue": "mail-2", "children": [{"queue": "post"}]}]), "push:post"),
    (command("COUNT", queue="mail-10"), "read:mail-10"),
    (command("GETJOBS"), "read:*"),
    (command("STATS"), "read:*"),
    (command("PAUSE", queue="mail-2"), "manage:mail-2"),
    (command("KVGET", key="k-1"), "kv_read:k-1"),
    (command("KVMSET", entries=[{"key": "k-1", "value": 1}, {"key": "other", "value": 1}]), "kv_write:other"),
    (command("CRON", name="n", queue="mail-2", schedule="*"), "manage:mail-2"),
]


@pytest.mark.parametrize("wanted", ALLOWED, ids=_named)
def test_scope_that_covers_all_names_of_a_command_lets_it_pass(access: Access, wanted: object) -> None:
    access.check_command("some@1", wanted)


@pytest.mark.parametrize(("wanted", "scope"), REFUSED, ids=[f"{_named(wanted)}-{scope}" for wanted, scope in REFUSED])
def test_refusal_names_the_scope_that_is_missing(access: Access, wanted: object, scope: str) -> None:
    with pytest.raises(Forbidden, match=r"token 'some' lacks the scope ") as refused:
        access.check_command("some@1", wanted)
    assert str(refused.value).endswith(scope)


def test_verb_that_a_token_has_nowhere_is_refused_before_the_job_is_looked_for(access: Access) -> None:
    assert access.book is not None
    access.book.create("none", scopes=("push:mail-*",))
    with pytest.raises(Forbidden):
        access.check_command("none@2", command("ACK", id=1))


@pytest.mark.parametrize("principal", ["", "anyone", "anonymous", "token-1", "some@2", "nobody", "some"])
def test_whoever_is_not_in_the_book_may_nothing(access: Access, principal: str) -> None:
    with pytest.raises(Unauthenticated):
        access.check_command(principal, command("COUNT", queue="mail-1"))
    assert not access.may(principal, Verb.PUSH, "mail-1")


def test_of_what_is_not_known_yet_every_kind_is_checked_somewhere() -> None:
    """Rows whose queue only the job's shard knows: the matrix walks them on a real cluster."""
    later = {tag for tag, need in COMMANDS.items() if need.on in (On.JOB, On.JOBS, On.NAMED_JOB, On.CRON)}
    assert {"ACK", "ACKB", "GETJOB", "GETJOBBYCUSTOMID", "CRONDELETE", "CANCEL"} <= later
