"""Proofs of webhooks that come in: each scheme, and how each fails."""

import pytest

from flashq.api.webhooks.proofs import JUDGES, Proof
from flashq.api.webhooks.signing import signature_of, timed_signature_of
from flashq.protocol.commands import SCHEMES

SECRET, BODY, NOW = "0123456789abcdef", b'{"a":1}', 1_700_000_000
OTHER = "fedcba9876543210"


def _judge(scheme: str, headers: dict[str, str], body: bytes = BODY) -> str | None:
    return JUDGES[scheme](Proof(SECRET, headers, body, NOW, 300))


def _headers(scheme: str, secret: str = SECRET, at_s: int = NOW) -> dict[str, str]:
    return {
        "flashq": {"x-flashq-signature-timed": timed_signature_of(secret, BODY, at_s)},
        "stripe": {"stripe-signature": timed_signature_of(secret, BODY, at_s) + ",v0=00"},
        "github": {"x-hub-signature-256": f"sha256={signature_of(secret, BODY)}", "x-github-delivery": "d-1"},
        "body": {"x-flashq-signature": signature_of(secret, BODY)},
        "token": {"authorization": f"Bearer {secret}"},
    }[scheme]


def test_every_scheme_has_a_judge() -> None:
    assert set(JUDGES) == set(SCHEMES)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_genuine_request_is_taken_and_others_are_not(scheme: str) -> None:
    assert _judge(scheme, _headers(scheme)) is not None
    assert _judge(scheme, _headers(scheme, OTHER)) is None
    assert _judge(scheme, {}) is None
    assert _judge(scheme, dict.fromkeys(_headers(scheme), "ü")) is None
    if scheme != "token":
        assert _judge(scheme, _headers(scheme), b'{"a":2}') is None


@pytest.mark.parametrize("scheme", ["flashq", "stripe"])
def test_old_and_early_requests_are_refused_and_repeated_ones_known(scheme: str) -> None:
    for at_s in (NOW - 301, NOW + 301):
        assert _judge(scheme, _headers(scheme, at_s=at_s)) is None
    first, again, later = (_judge(scheme, _headers(scheme, at_s=at_s)) for at_s in (NOW, NOW, NOW + 300))
    assert first == again != later
    assert first


@pytest.mark.parametrize("at", ["", "-1", "x", "1e9", "1" * 13, "٣"])
def test_moment_that_is_no_number_is_refused(at: str) -> None:
    assert _judge("flashq", {"x-flashq-signature-timed": f"t={at},v1={signature_of(SECRET, BODY)}"}) is None


def test_one_good_signature_among_several_is_enough() -> None:
    """While a secret is changed, a service may sign with both."""
    good = timed_signature_of(SECRET, BODY, NOW)
    assert _judge("stripe", {"stripe-signature": good.replace("v1=", "v1=00,v1=")})


def test_token_may_stand_in_a_header_of_its_own() -> None:
    assert _judge("token", {"x-flashq-token": SECRET}) == ""
