"""AUTH: a client shows a token on its connection. The same wherever its connection lives."""

from typing import Final

from flashq.access.access import Access
from flashq.errors import LockedOut, Unauthenticated
from flashq.protocol import replies
from flashq.protocol.dispatch import Link

TOKENS_MAX: Final = 5
"""Wrong tokens on one connection, the last of which ends it."""


def show_token(access: Access, link: Link, token: str, req_id: bytes) -> bool:
    """Answer an AUTH, and note on the link who it is. True where it was somebody else before.

    What that one had begun on the connection, its subscriptions and pulls that wait, is to end then: it would outlive
    that one's token.
    """
    codec, before = link.codec, link.principal
    try:
        link.principal = access.admit(token, link.address)
    except (Unauthenticated, LockedOut) as error:
        link.wrong_tokens += 1
        if link.wrong_tokens >= TOKENS_MAX:
            link.fatal(str(error), error.code)
        else:
            link.reply(replies.with_req_id(codec, replies.failure(codec, error), req_id))
        return False
    link.reply(replies.with_req_id(codec, replies.OK[codec], req_id))
    return before not in ("", link.principal)
