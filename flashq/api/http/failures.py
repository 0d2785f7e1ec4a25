"""Requests that never become a command, and how they are answered."""

from typing import Final

import msgspec

from flashq.api.statuses import CODE_OF

Headers = list[tuple[bytes, bytes]]
JSON_TYPE: Final = (b"content-type", b"application/json")
TEXT_TYPE: Final = (b"content-type", b"text/plain; charset=utf-8")
UNAUTHENTICATED: Final = "Invalid or missing authentication token"


class HttpFailure(Exception):
    """A request that is refused at the door."""

    def __init__(self, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
        """`headers`: beside those that every answer has."""
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers

    def answer(self, *, real: bool) -> tuple[int, Headers, bytes]:
        """Status, headers and body: JSON under /api/v1 (`real`), plain text on the routes of old."""
        if real:
            body = msgspec.json.encode({"ok": False, "error": self.text, "code": CODE_OF[self.status]})
            return self.status, [JSON_TYPE, *self.headers], body
        empty = self.status in (404, 405)
        return self.status, [TEXT_TYPE, *self.headers], b"" if empty else self.text.encode("utf-8", "replace")


def unauthenticated() -> HttpFailure:
    """No valid token came with the request."""
    return HttpFailure(401, UNAUTHENTICATED, (b"www-authenticate", b"Bearer"))
