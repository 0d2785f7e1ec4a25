"""TLS for clients: certificates read from files, and read again while we run.

TLS 1.2 is the oldest that is spoken; what OpenSSL calls security level 2 bars short keys and weak ciphers. A context
is made anew at each reading, so that a changed authority of clients counts too; connections that stand keep theirs.
"""

import ssl
from collections.abc import Callable
from typing import Final

import structlog

from flashq.config import Settings
from flashq.errors import ConfigError

log = structlog.get_logger()
HANDSHAKE_S: Final = 5.0
"""How long a client may take for it."""
HANDSHAKES_MAX: Final = 1_024
"""Under way at once in one process; who comes then is closed."""
SPOKEN: Final = ("TLSv1.2", "TLSv1.3")


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What `tls_cert`, `tls_key` and `tls_client_ca` say; None without them. Raises ConfigError."""
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("DEFAULT:@SECLEVEL=2")
    try:
        # A key with a pass phrase would have OpenSSL ask at the terminal.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_phrase)
    except (OSError, ValueError) as error:
        raise ConfigError(f"tls_cert = {settings.tls_cert}, tls_key = {settings.tls_key}: {_words(error)}") from None
    if settings.tls_client_ca is not None:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"tls_client_ca = {settings.tls_client_ca}: {_words(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_phrase() -> str:
    raise ValueError("the key has a pass phrase; allowed is one without")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no certificate and key that belong together in PEM ({error.reason or error})"
    return str(getattr(error, "strerror", None) or error)


class Certificates:
    """Those of one process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self.context = server_context(settings)
        """For connections that come from now on; None: they are not enciphered."""
        self.on_change: list[Callable[[], None]] = []

    def reload(self) -> None:
        """Read the files again. Where they cannot be read things stay as they were, and the log says so."""
        if self.context is None:
            return
        try:
            self.context = server_context(self._settings)
        except ConfigError as error:
            log.error("certificates stay as they were", reason=str(error))
            return
        for call in self.on_change:
            call()
