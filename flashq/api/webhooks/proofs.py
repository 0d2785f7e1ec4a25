"""Proofs that a webhook which comes in was sent by who shares its secret: one function a scheme.

Compared in constant time. Where a scheme signs a moment too, requests older or newer than the tolerance are refused,
and the signature serves as idempotency key, so that what is sent again within it pushes nothing.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from flashq.api.webhooks.signing import SIGNATURE, SIGNATURE_TIMED, signature_of

SIGNATURES_MAX: Final = 8
"""In one header: while a secret is changed there may be two."""


class Proof(NamedTuple):
    """What there is to judge by."""

    secret: str
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes
    now_s: int
    tolerance_s: int


Judge = Callable[[Proof], str | None]
"""The request's idempotency key (empty: none) if it is genuine, else None."""


def _same(said: str, expected: str) -> bool:
    return hmac.compare_digest(said.encode(), expected.encode())


def _token(proof: Proof) -> str | None:
    said = proof.headers.get("x-flashq-token", "") or proof.headers.get("authorization", "").removeprefix("Bearer ")
    return "" if _same(said, proof.secret) else None


def _body(proof: Proof) -> str | None:
    return "" if _same(proof.headers.get(SIGNATURE, ""), signature_of(proof.secret, proof.body)) else None


def _github(proof: Proof) -> str | None:
    expected = "sha256=" + signature_of(proof.secret, proof.body)
    if not _same(proof.headers.get("x-hub-signature-256", ""), expected):
        return None
    delivery = proof.headers.get("x-github-delivery", "")
    return f"github {delivery[:128]}" if delivery else ""


def _timed(header: str) -> Judge:
    """`t=<seconds>,v1=<hex>`, perhaps with several `v1`, and with what else there may be."""

    def judge(proof: Proof) -> str | None:
        pairs = [part.partition("=")[::2] for part in proof.headers.get(header, "")[:2_048].split(",")]
        at = next((value for name, value in pairs if name.strip() == "t"), "")
        said = [value for name, value in pairs if name.strip() == "v1"][:SIGNATURES_MAX]
        if not (at.isascii() and at.isdigit()) or len(at) > 12 or abs(proof.now_s - int(at)) > proof.tolerance_s:
            return None
        expected = signature_of(proof.secret, b"%b.%b" % (at.encode(), proof.body))
        genuine = [one for one in said if _same(one, expected)]
        return f"{header} {at} {expected}" if genuine else None

    return judge


JUDGES: Final[Mapping[str, Judge]] = {
    "flashq": _timed(SIGNATURE_TIMED),
    "stripe": _timed("stripe-signature"),
    "github": _github,
    "body": _body,
    "token": _token,
}
"""By the schemes of INCOMING."""
