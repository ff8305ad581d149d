"""The keys of one issuer of tokens, found by OpenID Connect discovery and cached with bounds.

1. The discovery document must name the configured issuer, byte for byte; its keys are at an https URL, and at the issuer's own
   host unless its keys may be elsewhere. Where a server is given, paths are asked for there, whatever address it calls itself by.
2. Keys are asked for again when they are `FRESH_S` old, or when a token names one that is not known, but never more often than
   every `PAUSE_S`, failures included: tokens of strangers must not make us hammer the issuer.
3. An issuer that is away is forgiven for `KEPT_S`. After that nobody is believed; there is no other key to fall back on.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from certs import jwk_set, jws
from certs.errors import TokenError
from certs.jws import Key
from controlplane.api import https
from controlplane.errors import UnavailableError

log = structlog.get_logger()
FRESH_S, KEPT_S, PAUSE_S = 300.0, 3600.0, 10.0
DISCOVERY = "/.well-known/openid-configuration"


class Documents(Protocol):
    """Where documents are had from; UnavailableError when one is not."""

    async def get(self, url: str) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Whose keys count, for which algorithms, and where they may be."""

    issuer: str
    algorithms: Collection[str]
    server: str = ""
    """`https://host[:port]` that is asked in the issuer's place."""
    elsewhere: bool = False
    """Its keys may be at any host, as those of large identity providers are."""


class IssuerKeys:
    """One per issuer and process."""

    def __init__(
        self, source: Source, documents: Documents, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source, self._documents, self._clock = source, documents, clock
        self._keys: Mapping[str, Key] = {}
        self._read_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def keys(self, key_id: str) -> Mapping[str, Key]:
        """The keys as they are now, asked for again where that may help; UnavailableError when they are too old."""
        if self._stale(key_id):
            async with self._lock:  # who comes meanwhile waits for the same answer
                if self._stale(key_id) and self._clock() - self._tried_at >= PAUSE_S:
                    await self._refresh()
        if self._clock() - self._read_at >= KEPT_S:
            self._keys = {}
            raise UnavailableError(
                f"the keys of `{self._source.issuer}` cannot be had",
                hint="is it reachable, and ca_file its CA?",
            )
        return self._keys

    def _stale(self, key_id: str) -> bool:
        return self._clock() - self._read_at >= FRESH_S or key_id not in self._keys

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = await self._read()
            self._read_at = self._clock()
        except (UnavailableError, TokenError) as exc:
            log.warning("issuer_keys_not_read", issuer=self._source.issuer, reason=str(exc))

    async def _read(self) -> Mapping[str, Key]:
        at = self._source.server or self._source.issuer.rstrip("/")
        discovery = await self._documents.get(at + DISCOVERY)
        return jwk_set.read(
            await self._documents.get(_keys_url(discovery, self._source)), self._source.algorithms
        )


def _keys_url(discovery: bytes, source: Source) -> str:
    """Where the keys are; TokenError unless the document is of the issuer, and may send us there."""
    found = jws.json_object(discovery, "discovery document")
    if found.get("issuer") != source.issuer:
        raise TokenError(f"the discovery document is of `{str(found.get('issuer'))[:128]}`")
    where = found.get("jwks_uri")
    if not isinstance(where, str) or not https.origin_of(where):
        raise TokenError("the discovery document names no keys at a plain https URL")
    if source.server:
        return source.server + urlsplit(where).path
    if not source.elsewhere and https.origin_of(where) != https.origin_of(source.issuer):
        raise TokenError("the discovery document names keys at another host")
    return where
