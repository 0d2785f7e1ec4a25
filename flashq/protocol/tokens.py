"""Who shows a token: compared in constant time, all of them, so that time tells nothing."""

import hmac
from collections.abc import Callable, Sequence


def authenticator(tokens: Sequence[str]) -> Callable[[str], str | None] | None:
    """A function from a token to who shows it; None where no tokens are configured and everybody may enter."""
    if not tokens:
        return None
    known = [t.encode() for t in tokens]

    def authenticate(token: str) -> str | None:
        shown = token.encode("utf-8", "surrogatepass")
        found = 0
        for k, one in enumerate(known):
            found |= (k + 1) * hmac.compare_digest(one, shown)
        return f"token-{found}" if found else None

    return authenticate
