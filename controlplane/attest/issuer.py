"""The keys of an issuer of tokens, found by OpenID discovery, kept for as long as they may be believed.

1. The discovery document must name the very issuer that was configured, and keys at the same host: nothing that is fetched
   sends us elsewhere. Where an API server is given, its paths are asked for there, whatever address it calls itself by.
2. Keys are believed for `KEEP_S` after they were fetched, and fetched anew after `FRESH_S`: a key that the issuer withdrew is
   not believed for longer, also when the issuer is away. Then nothing is.
3. An unknown key id is a reason to look again, at most every `PAUSE_S`: tokens are free to make, questions are not. A failure
   is remembered as long.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import structlog

from certs import web_token
from certs.errors import BundleError
from controlplane.attest.https import Https
from controlplane.errors import UnavailableError

log = structlog.get_logger()
FRESH_S, KEEP_S, PAUSE_S = 300.0, 3600.0, 10.0
MAX_DISCOVERY_BYTES = 1 << 16
DISCOVERY = "/.well-known/openid-configuration"


class IssuerKeys:
    """The keys of `issuer`. `server` is asked for them: the issuer's own host, or the API server's."""

    def __init__(self, issuer: str, server: Https, *, api_server: bool, clock: Callable[[], float]) -> None:
        self._issuer, self._server, self._api_server, self._clock = issuer, server, api_server, clock
        self._keys: Mapping[str, web_token.Key] = {}
        self._fetched = self._asked = float("-inf")
        self._one = asyncio.Lock()

    async def known(self, key_id: str) -> Mapping[str, web_token.Key]:
        """All keys, looked for again if `key_id` is not among them; UnavailableError when none may be believed."""
        async with self._one:
            age = self._clock() - self._fetched
            if age >= FRESH_S or key_id not in self._keys:
                await self._look_again()
            if self._clock() - self._fetched >= KEEP_S:
                raise UnavailableError(
                    f"the keys of `{self._issuer}` cannot be fetched",
                    hint="is it reachable, and ca_file its CA?",
                )
            return self._keys

    async def _look_again(self) -> None:
        if self._clock() - self._asked < PAUSE_S:
            return
        self._asked = self._clock()
        try:
            self._keys = await self._fetch()
            self._fetched = self._clock()
        except (UnavailableError, BundleError) as exc:
            log.warning("issuer_unavailable", issuer=self._issuer, reason=str(exc))

    async def _fetch(self) -> Mapping[str, web_token.Key]:
        prefix = "" if self._api_server else urlsplit(self._issuer).path.rstrip("/")
        raw = await self._server.get(prefix + DISCOVERY, MAX_DISCOVERY_BYTES)
        path = self._path_of_keys(raw)
        return web_token.load_keys(await self._server.get(path, web_token.MAX_SET_BYTES))

    def _path_of_keys(self, raw: bytes) -> str:
        try:
            document = json.loads(raw)
            said, address = document["issuer"], urlsplit(document["jwks_uri"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise BundleError("the discovery document is malformed") from exc
        if said != self._issuer:  # (1)
            raise BundleError(f"the discovery document is of `{str(said)[:128]}`")
        elsewhere = f"https://{address.netloc}" != self._server.origin and not self._api_server
        if address.scheme != "https" or elsewhere or not address.path.startswith("/"):
            raise BundleError("the discovery document names keys at another host")
        return str(address.path)
