"""The bundle endpoint: our newest SPIFFE bundle over HTTPS, for everybody. No client is asked who it is.

Its certificate is an X509-SVID of our own (https_spiffe), or one of the Web's from files (https_web), which are read again when
they change: whatever renews them need not tell us.
"""

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from controlplane.api.pages import Page, Pages
from controlplane.errors import UnavailableError

log = structlog.get_logger()
CIPHERS = (  # Mozilla's intermediate profile for TLS 1.2; TLS 1.3 has its own
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
Credential = tuple[bytes, bytes]
"""Private key and chain, PEM."""


class BundleEndpoint:
    """Serves `bundle()`, newest at every request, with the newest of `credential()` at every handshake."""

    def __init__(self, bundle: Callable[[], bytes], credential: Callable[[], Credential]) -> None:
        self._bundle, self._credential = bundle, credential
        self._pages = Pages(self._page)
        self._context: tuple[Credential, ssl.SSLContext] | None = None

    async def start(self, listen: str) -> int:
        """The port that was bound; UnavailableError when it cannot be, or when there is no certificate."""
        try:
            return await self._pages.start(listen, self._listening())
        except (OSError, ValueError) as exc:
            hint = "federation.listen is host:port; a certificate's key must be its own"
            raise UnavailableError(f"cannot serve our bundle on `{listen}`: {exc}", hint=hint) from exc

    async def stop(self) -> None:
        await self._pages.stop()

    async def _page(self, path: bytes) -> Page | None:
        return Page(self._bundle(), "application/json") if path == b"/" else None

    def _listening(self) -> ssl.SSLContext:
        """The listener's context only leads to the newest: of a renewed certificate a listener hears nothing."""
        context = self._newest()

        def choose(connection: ssl.SSLObject, name: str | None, before: ssl.SSLContext) -> None:
            del name, before
            connection.context = self._newest()

        context.sni_callback = choose  # called also when no name was sent
        return context

    def _newest(self) -> ssl.SSLContext:
        """With the last that was whole: who renews files may be half-way through."""
        try:
            credential = self._credential()
            if self._context is None or self._context[0] != credential:
                self._context = (credential, _context(*credential))
        except (UnavailableError, ssl.SSLError) as exc:
            if self._context is None:
                raise
            log.warning("endpoint_certificate_not_renewed", reason=str(exc))
        return self._context[1]


def from_files(certificate: Path, key: Path) -> Callable[[], Credential]:
    """A credential as it is in files now; UnavailableError when they cannot be read."""

    def read() -> Credential:
        try:
            return key.read_bytes(), certificate.read_bytes()
        except OSError as exc:
            raise UnavailableError(f"cannot read `{exc.filename}`: {exc.strerror}") from exc

    return read


def _context(key: bytes, chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    descriptor = os.memfd_create(
        "endpoint"
    )  # the library reads files only, and a key is not put on disk for it
    try:
        os.write(descriptor, key + chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context
