"""What certificates may be, and what is said of those that may not."""

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from flashq.access.book import TokenBook
from flashq.config import Settings
from flashq.errors import ConfigError
from flashq.transport.tls import server_context


@pytest.fixture
def papers(tmp_path: Path) -> dict[str, Path]:
    cert = trustme.CA().issue_cert("localhost")
    cert.private_key_pem.write_to_path(str(tmp_path / "key"))
    cert.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    return {"tls_cert": tmp_path / "cert", "tls_key": tmp_path / "key"}


def test_nothing_older_than_tls_1_2_is_spoken(papers: dict[str, Path]) -> None:
    context = server_context(Settings(**papers))  # type: ignore[arg-type]
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert server_context(Settings()) is None


@pytest.mark.parametrize("damage", ["missing", "empty", "swapped", "another key", "pass phrase"])
def test_wrong_files_are_no_start_and_named(papers: dict[str, Path], damage: str) -> None:
    key = papers["tls_key"]
    if damage == "missing":
        key.unlink()
    elif damage == "empty":
        key.write_bytes(b"")
    elif damage == "swapped":
        papers["tls_cert"], papers["tls_key"] = papers["tls_key"], papers["tls_cert"]
    elif damage == "another key":
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(key))
    else:
        private = load_pem_private_key(key.read_bytes(), None)
        locked = BestAvailableEncryption(b"secret")
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match=r"tls_key = .*key"):
        server_context(Settings(**papers))  # type: ignore[arg-type]


def test_half_of_a_pair_is_refused(papers: dict[str, Path]) -> None:
    for name, path in papers.items():
        with pytest.raises(ConfigError, match="go together"):
            Settings(**{name: path})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs tls_cert"):
        Settings(tls_client_ca=papers["tls_cert"])


def test_address_others_reach_is_open_to_who_shows_a_certificate(papers: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="others can reach"):
        Settings(host="0.0.0.0", **papers)  # type: ignore[arg-type]
    Settings(host="0.0.0.0", tls_client_ca=papers["tls_cert"], **papers)  # type: ignore[arg-type]


def test_address_others_reach_is_open_where_a_token_was_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flashq auth create"):
        Settings(host="0.0.0.0", data=tmp_path)
    TokenBook(tmp_path).create("first", role="admin")
    Settings(host="0.0.0.0", data=tmp_path)
