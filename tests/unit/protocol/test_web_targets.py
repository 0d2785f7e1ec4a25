"""Where webhooks may go: only to what is public, in whatever spelling it is asked for."""

import ipaddress

import pytest

from flashq.errors import InvalidArgument
from flashq.protocol.web_targets import Allowed, checked_url, is_public

PRIVATE = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.0.0.1.", "0",
    "0.0.0.0", "10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "0xa9fea9fe",
    "100.64.0.1", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "192.88.99.1", "１２７.0.0.1", "127。0。0。1",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "[fc00::1]", "[fd12:3456::1]",
    "[ff02::1]", "[2001:db8::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a00:1::1]",
    "[::127.0.0.1]", "[fec0::1]", "[2001:0:7f00:1::]",
)  # fmt: skip
LOCAL_NAMES = ("localhost", "LOCALHOST", "localhost.", "a.localhost", "printer.local")
INTERNAL_NAMES = ("metadata.google.internal", "metadata", "metadata.azure.com", "db.internal", "nas.lan")


@pytest.mark.parametrize("host", PRIVATE)
def test_private_address_is_refused_in_any_spelling(host: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Private/internal IP addresses are not allowed: "):
        checked_url(f"http://{host}:8080/hook")


@pytest.mark.parametrize("host", LOCAL_NAMES)
def test_local_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Localhost URLs are not allowed for webhooks$"):
        checked_url(f"https://{host}/")


@pytest.mark.parametrize("host", INTERNAL_NAMES)
def test_internal_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Internal/cloud metadata URLs are not allowed: "):
        checked_url(f"https://{host}/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.com/", "Invalid scheme 'ftp': only http/https allowed"),
        ("file:///etc/passwd", "Invalid scheme 'file'"),
        ("example.com/x", "Invalid scheme ''"),
        ("", "Invalid scheme ''"),
        ("http://", "Invalid URL: "),
        ("http:///x", "Invalid URL: "),
        ("http://user:pw@example.com/", "a user or password"),
        ("http://example.com@127.0.0.1/", "a user or password"),
        ("http://example.com:0/", "the port is 0"),
        ("http://example.com:99999/", "Invalid URL: "),
        ("http://exa mple.com/", "blanks"),
        ("http://example.com/\r\nHost: evil", "blanks"),
        ("http://example.com\\@127.0.0.1/", "backslashes"),
        ("http://127.0.0.1%2f@example.com/", "a user or password"),
        ("http://%31%32%37.0.0.1/", "is no host"),
        ("http://256.1.1.1/", "is no host"),
        ("http://1.2.3.4.5/", None),
        ("http://09.1.1.1/", "is no host"),
        ("http://[::1", "Invalid URL: "),
        ("http://" + "a" * 64 + ".com/", "is no host"),
        ("http://example.com/" + "a" * 3_000, "at most 2048"),
    ],
)
def test_url_of_the_wrong_shape_is_refused(url: str, words: str | None) -> None:
    if words is None:
        assert checked_url(url) == url, "five numbers are a name, which no resolver takes for an address"
        return
    with pytest.raises(InvalidArgument, match=words.replace("(", r"\(")):
        checked_url(url)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://Example.COM:8443/a?b=c#d", "https://example.com:8443/a?b=c"),
        ("http://8.8.2056", "http://8.8.8.8/"),
        ("http://[2606:4700:0000::1111]/", "http://[2606:4700::1111]/"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
    ],
)
def test_public_url_is_kept_in_one_spelling(url: str, kept: str) -> None:
    assert checked_url(url) == kept


def test_configuration_allows_networks_and_names() -> None:
    allowed = Allowed.of(["10.0.0.0/8", "127.0.0.1", "Receiver.internal"])
    assert checked_url("http://10.1.2.3/", allowed) == "http://10.1.2.3/"
    assert checked_url("http://127.1/", allowed) == "http://127.0.0.1/"
    assert checked_url("http://receiver.internal/", allowed) == "http://receiver.internal/"
    for other in ("http://127.0.0.2/", "http://192.168.0.1/", "http://other.internal/"):
        with pytest.raises(InvalidArgument):
            checked_url(other, allowed)
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        Allowed.of(["10.0.0.0/33"])


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111"])
def test_public_address_is_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
