"""Signatures of webhooks, made and checked: HMAC-SHA256 with the secret as key, in lower-case hex.

`X-FlashQ-Signature` is over the body alone, as older receivers know it: whoever saw a delivery can send it again.
`X-FlashQ-Signature-Timed` is `t=<seconds>,v1=<hex>`, over the seconds, a dot and the body: receivers refuse old ones.
"""

import hmac
from typing import Final

SIGNATURE: Final = "x-flashq-signature"
SIGNATURE_TIMED: Final = "x-flashq-signature-timed"


def signature_of(secret: str, body: bytes) -> str:
    """Over the body."""
    return hmac.digest(secret.encode("utf-8", "surrogatepass"), body, "sha256").hex()


def timed_signature_of(secret: str, body: bytes, at_s: int) -> str:
    """Over the moment and the body."""
    return f"t={at_s},v1={signature_of(secret, b'%d.%b' % (at_s, body))}"
