"""Addresses: every spelling people try, and no token in an error."""

from pathlib import Path

import pytest

from flashq.client.address import Address, parse_address
from flashq.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("flashq://10.0.0.1:7000", Address("10.0.0.1", 7000)),
        ("flashq://jobs.example.com", Address("jobs.example.com", 6789)),
        ("localhost", Address("localhost", 6789)),
        ("localhost:7000", Address("localhost", 7000)),
        ("[::1]:7000", Address("::1", 7000)),
        ("flashq://:s%2Fcret@h", Address("h", 6789, token="s/cret")),
        ("/run/flashq.sock", Address(path=Path("/run/flashq.sock"))),
        ("./flashq.sock", Address(path=Path("flashq.sock"))),
        ("unix:flashq.sock", Address(path=Path("flashq.sock"))),
        ("unix:///run/flashq.sock", Address(path=Path("/run/flashq.sock"))),
    ],
)
def test_address_is_read_as_people_write_it(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("address", [Address("::1", 7000), Address("h", 1), Address(path=Path("/run/x"))])
def test_address_reads_back_from_its_text(address: Address) -> None:
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "redis://h", "flashq://", "h:port", "h:99999", "h:0", "flashq://h/queue", "flashq://h?x=1", "unix:"]
)
def test_anything_else_is_told_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed is flashq://"):
        parse_address(text)


def test_token_shows_neither_in_repr_nor_in_errors() -> None:
    assert "hunter2" not in repr(parse_address("flashq://:hunter2@h"))
    with pytest.raises(ConfigError) as caught:
        parse_address("flashq://:hunter2@h:port")
    assert "hunter2" not in str(caught.value)


def test_environment_says_where_the_server_is_and_its_token_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHQ_ADDRESS", "h:7000")
    monkeypatch.setenv("FLASHQ_TOKEN", "hunter2")
    assert parse_address(None) == Address("h", 7000, token="hunter2")
    assert parse_address("other").token is None
    monkeypatch.setenv("FLASHQ_ADDRESS", "flashq://:own@h")
    assert parse_address(None).token == "own"
    monkeypatch.delenv("FLASHQ_ADDRESS")
    monkeypatch.delenv("FLASHQ_TOKEN")
    assert parse_address(None) == Address()
