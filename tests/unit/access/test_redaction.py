"""No secret leaves by the log."""

import io
import json
import logging

import pytest
import structlog

from flashq.access.redaction import HIDDEN, RedactingFormatter, Redaction
from flashq.cluster.logs import configure_logs
from flashq.config import Settings

PLANTED = "a-planted-secret-of-ours"
NAMED = "fq_" + "Abcdefghijk-0123456789_" * 2


@pytest.mark.parametrize(
    "line",
    [
        f"x {PLANTED} y", f"{NAMED}", f"GET /ws?token={NAMED} HTTP/1.1", f'{{"authorization":"Bearer {PLANTED}"}}',
        f"['{PLANTED}', '{NAMED}']", f"Bearer {PLANTED}x", f"{PLANTED}{PLANTED}",
    ],
)  # fmt: skip
def test_known_secret_is_hidden_wherever_it_stands(line: str) -> None:
    told = Redaction([PLANTED])(line)
    assert PLANTED not in told
    assert NAMED not in told
    assert HIDDEN in told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("GET /events?token=abc&x=1", "GET /events?token=[hidden]&x=1"),
        ("authorization: bearer abc.def", "authorization: bearer [hidden]"),
        ('{"token":"abc","x":1}', '{"token":"[hidden]","x":1}'),
        ("password='hunter2'", "password='[hidden]'"),
        ("a token was refused client=10.0.0.1", "a token was refused client=10.0.0.1"),
        ("tokens stay as they were", "tokens stay as they were"),
    ],
)
def test_unknown_secret_is_hidden_by_what_stands_before_it(line: str, told: str) -> None:
    assert Redaction([])(line) == told
    assert Redaction([])(told) == told


def test_short_token_takes_nothing_out() -> None:
    assert Redaction(["t"])("a token that is short") == "a token that is short"


@pytest.mark.parametrize("form", ["console", "json"])
def test_every_line_of_the_log_goes_through_it(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Values, nested ones, and tracebacks, whose frames may have held a secret."""
    before = structlog.get_config()
    handlers = logging.getLogger().handlers[:]
    try:
        configure_logs(Settings(auth_tokens=(PLANTED,), log_format=form))  # type: ignore[arg-type]
        log = structlog.get_logger()
        log.info("shown", token=PLANTED, nested={"headers": [("authorization", f"Bearer {NAMED}")]})
        try:
            _fail(PLANTED)
        except ValueError:
            log.exception("failed")
        logging.getLogger("some.package").error("it says %s", PLANTED)
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
    said = capsys.readouterr().err
    assert said.count(HIDDEN) >= 4
    assert PLANTED not in said
    assert NAMED not in said
    if form == "json":
        assert [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")] == ["shown", "failed"]


def _fail(secret: str) -> None:
    raise ValueError(f"cannot use {secret}")


def test_formatter_hides_what_a_traceback_says() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter(Redaction([PLANTED])))
    logger = logging.Logger("alone")
    logger.addHandler(handler)
    try:
        _fail(PLANTED)
    except ValueError:
        logger.exception("with %s", NAMED)
    assert PLANTED not in stream.getvalue()
    assert NAMED not in stream.getvalue()
    assert "Traceback" in stream.getvalue()
