"""TLS as gRPC wants it: the files' contents, asked for at each handshake, read again when the others are."""

from pathlib import Path

import grpc

from flashq.config import Settings
from flashq.transport.tls import Certificates


class Sealing:
    """That of one process, where TLS is configured."""

    def __init__(self, settings: Settings, certificates: Certificates) -> None:
        """`certificates`: they judge the files; what they cannot use is not used here either."""
        self._settings = settings
        self._content = self._read()
        certificates.on_change.append(self._reload)

    def credentials(self) -> grpc.ServerCredentials:
        """For a port that is enciphered."""
        asked = self._settings.tls_client_ca is not None
        return grpc.dynamic_ssl_server_credentials(self._content, self._current, require_client_authentication=asked)

    def _current(self) -> grpc.ServerCertificateConfiguration:
        """Called in a thread of gRPC."""
        return self._content

    def _reload(self) -> None:
        self._content = self._read()

    def _read(self) -> grpc.ServerCertificateConfiguration:
        cert, key, authority = self._settings.tls_cert, self._settings.tls_key, self._settings.tls_client_ca
        assert cert is not None
        assert key is not None
        pairs = [(Path(key).read_bytes(), Path(cert).read_bytes())]
        return grpc.ssl_server_certificate_configuration(pairs, authority.read_bytes() if authority else None)
