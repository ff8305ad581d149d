"""Questions to an issuer over HTTPS: one host, the CA that was pinned, no redirect, bounded in size and time.

Whatever goes wrong, the answer is not there: UnavailableError.
"""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controlplane.errors import InvalidError, UnavailableError

CALL_S, MAX_CALLS = 5.0, 4
CHUNK, OK = 1 << 16, {200, 201}


class Https:
    """One origin, `https://host[:port]`. `token_file`: how we show who we are there, read anew at each question."""

    def __init__(self, origin: str, ca_file: Path | None, token_file: Path | None) -> None:
        """InvalidError unless `origin` is one, and `ca_file` holds certificates; without one the system's roots count."""
        parts = urlsplit(origin)
        if parts.scheme != "https" or not parts.hostname or origin != f"https://{parts.netloc}":
            raise InvalidError(f"`{origin}` is not https://host[:port]")
        if parts.username is not None:
            raise InvalidError("an issuer's address holds no password")
        self.origin, self._host, self._port = origin, parts.hostname, parts.port or 443
        self._token_file, self._context = token_file, _context(ca_file)
        # Of our own: an issuer that is slow must not hold what others of this process wait for.
        self._threads = ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="issuer")

    async def get(self, path: str, limit: int) -> bytes:
        return await self._ask("GET", path, None, limit)

    async def post(self, path: str, document: Mapping[str, Any], limit: int) -> bytes:
        return await self._ask("POST", path, json.dumps(document).encode(), limit)

    async def _ask(self, method: str, path: str, body: bytes | None, limit: int) -> bytes:
        try:
            async with asyncio.timeout(CALL_S + 1):  # the thread ends by itself at its own deadline
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._call, method, path, body, limit)
        except (OSError, http.client.HTTPException, TimeoutError, ValueError) as exc:
            raise UnavailableError(
                f"`{self.origin}` does not answer: {str(exc)[:200] or 'too slow'}"
            ) from exc

    def _call(self, method: str, path: str, body: bytes | None, limit: int) -> bytes:
        deadline = time.monotonic() + CALL_S
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=CALL_S, context=self._context
        )
        try:
            connection.request(method, path, body, self._headers())
            reply = connection.getresponse()
            if reply.status not in OK:  # a redirect is one: whom it names was not pinned
                raise UnavailableError(f"`{self.origin}{path}` answers {reply.status}")
            return _bounded(reply, limit, deadline)
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"accept": "application/json", "content-type": "application/json", "connection": "close"}
        if self._token_file is not None:
            headers["authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        return headers


def _bounded(reply: http.client.HTTPResponse, limit: int, deadline: float) -> bytes:
    found = b""
    while chunk := reply.read1(CHUNK):
        found += chunk
        if len(found) > limit:
            raise ValueError(f"more than {limit} bytes")
        if time.monotonic() > deadline:  # a byte now and then keeps a socket's own timeout from ever coming
            raise TimeoutError("too slow")
    return found


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidError(f"`{ca_file}` holds no certificates: {exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
