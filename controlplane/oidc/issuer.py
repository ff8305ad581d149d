"""The keys of one issuer, found by OpenID Connect discovery and cached with bounds.

1. The discovery document must name the configured issuer, byte for byte; its keys are at an https URL.
2. Keys are asked for again when they are `FRESH_S` old, or when a token names one that is not known, but never more often than
   every `PAUSE_S`: tokens of strangers must not make us hammer the issuer.
3. An issuer that is away is forgiven for `KEPT_S`. After that nobody is let in; there is no other key to fall back on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from certs import id_token, jws
from certs.errors import TokenError
from certs.id_token import PublicKey
from controlplane.api import https
from controlplane.api.https import HttpsError
from controlplane.errors import UnavailableError

log = structlog.get_logger()
FRESH_S, KEPT_S, PAUSE_S = 300.0, 3600.0, 10.0
DISCOVERY = "/.well-known/openid-configuration"


class Issuer:
    """One per process."""

    def __init__(self, url: str, ca_file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.url, self._ca_file, self._clock = url, ca_file, clock
        self._keys: Mapping[str, PublicKey] = {}
        self._read_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def keys(self, key_id: str) -> Mapping[str, PublicKey]:
        """The keys as they are now, asked for again where that may help; UnavailableError when they are too old."""
        if self._wants(key_id):
            async with self._lock:
                if self._wants(key_id):
                    await self._refresh()
        if self._clock() - self._read_at > KEPT_S:
            self._keys = {}
            raise UnavailableError(f"the keys of `{self.url}` cannot be had", hint="is the issuer up?")
        return self._keys

    def _wants(self, key_id: str) -> bool:
        now = self._clock()
        stale = now - self._read_at > FRESH_S or key_id not in self._keys
        return stale and now - self._tried_at > PAUSE_S

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = await asyncio.to_thread(self._read)
            self._read_at = self._clock()
        except (HttpsError, TokenError) as exc:
            log.warning("issuer_keys_not_read", issuer=self.url, reason=str(exc))

    def _read(self) -> Mapping[str, PublicKey]:
        found = jws.json_object(
            https.get(self.url.rstrip("/") + DISCOVERY, self._ca_file), "discovery document"
        )
        if found.get("issuer") != self.url:
            raise TokenError(f"the discovery document is of `{str(found.get('issuer'))[:128]}`")
        where = found.get("jwks_uri")
        if not isinstance(where, str):
            raise TokenError("the discovery document names no keys")
        return id_token.read_keys(https.get(where, self._ca_file))
