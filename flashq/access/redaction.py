"""Redaction: no secret leaves by the log, wherever in a line it stands: in a value, an address, a traceback.

The whole line is looked at, once it is written out, for no list of keys knows where a secret may turn up. What is
taken out: the tokens of the configuration, whatever looks like a named token, and what stands behind `Bearer`,
`token=` or a key such as `password`.
"""

import logging
import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "[hidden]"
SECRET_CHARS_MIN: Final = 6
"""A configured token shorter than this would take pieces out of every line."""
_NAMED: Final = r"\bfq_[A-Za-z0-9_-]{20,}"
_KEYS: Final = r"token|secret|password|passwd|authorization|auth_tokens|secret_key|access_key"
_SHOWN: Final = re.compile(
    rf"(?i)(\bbearer\s+|[?&]token=|\b(?:{_KEYS})[\"']?\s*[:=]\s*[bru]?[\"'])(?!\[hidden\])[^\s\"'&,;]+"
)


class Redaction:
    """Takes secrets out of text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets`: known ones, the longest counts where one begins another."""
        known = sorted({s for s in secrets if len(s) >= SECRET_CHARS_MIN}, key=len, reverse=True)
        self._known = re.compile("|".join([*map(re.escape, known), _NAMED]))

    def __call__(self, text: str) -> str:
        """The text without them. Linear in its length."""
        return _SHOWN.sub(rf"\1{HIDDEN}", self._known.sub(HIDDEN, text))


class RedactingFormatter(logging.Formatter):
    """For what libraries write to the standard library's log, tracebacks too."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """As the base class, without secrets."""
        return self._redaction(super().format(record))
