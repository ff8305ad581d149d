"""Small documents over HTTPS: bounded in size and time, verified, never redirected, through no proxy.

What an issuer serves decides who administers, and what becomes a node: a redirect would let whoever serves it choose another
source, and a slow or endless answer must not hold anybody. Blocking; `Https` asks without holding the event loop.
"""

import asyncio
import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.errors import InvalidError, UnavailableError

MAX_BYTES = 256 << 10
TIMEOUT_S, MAX_CALLS = 5.0, 4
CHUNK = 16 << 10
DONE = {http.client.OK, http.client.CREATED}


class HttpsError(Exception):
    """The document could not be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and as whom."""

    method: str
    url: str
    body: bytes | None
    headers: Mapping[str, str] = field(repr=False)  # they may hold a token


class Https:
    """What is asked of one issuer, below the CA that was pinned; without one the system's roots count.

    `token_file`: how we show who we are, read anew at each question. With it no host is asked but that of `origin`.
    """

    def __init__(
        self, ca_file: Path | None, *, origin: str | None = None, token_file: Path | None = None
    ) -> None:
        """InvalidError unless `ca_file` holds certificates, and `origin` is one where it must be."""
        if token_file is not None and origin is None:
            raise RuntimeError("a token is shown to one host")
        if origin is not None and (not origin or origin_of(origin) != origin):
            raise InvalidError(f"`{origin}` is not https://host[:port]")
        self._ca_file, self._origin, self._token_file = ca_file, origin, token_file
        try:
            _trusting(ca_file)
        except OSError as exc:
            raise InvalidError(f"`{ca_file}` holds no certificates: {exc}") from exc
        # Of our own: an issuer that is slow must not hold what others of this process wait for.
        self._threads = ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="issuer")

    async def get(self, url: str) -> bytes:
        return await self._ask("GET", url, None)

    async def post(self, url: str, document: Mapping[str, Any]) -> bytes:
        return await self._ask("POST", url, json.dumps(document).encode())

    async def _ask(self, method: str, url: str, body: bytes | None) -> bytes:
        """The body of a 200 or 201; UnavailableError whatever goes wrong."""
        try:
            if self._origin is not None and origin_of(url) != self._origin:
                raise HttpsError(f"`{url[:128]}` is not at `{self._origin}`")
            asked = Question(method=method, url=url, body=body, headers=self._headers())
            async with asyncio.timeout(TIMEOUT_S + 1):  # the thread ends by itself at its own deadline
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, _done, asked, self._ca_file)
        except TimeoutError as exc:
            raise UnavailableError(f"`{url}` does not answer: too slow") from exc
        except (OSError, ValueError, HttpsError) as exc:
            raise UnavailableError(str(exc)) from exc

    def _headers(self) -> dict[str, str]:
        headers = {"accept": "application/json", "content-type": "application/json"}
        if self._token_file is not None:
            token = self._token_file.read_text().strip()
            if not token.isprintable():  # the library would refuse it with its text in the error
                raise HttpsError(f"`{self._token_file}` holds no token")
            headers["authorization"] = f"Bearer {token}"
        return headers


def get(url: str, ca_file: Path | None) -> bytes:
    """The body of a document that is there."""
    return _done(Question(method="GET", url=url, body=None, headers={"accept": "application/json"}), ca_file)


def post(url: str, form: dict[str, str], ca_file: Path | None) -> tuple[int, bytes]:
    """(status, body) of a form that was sent."""
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    body = urllib.parse.urlencode(form).encode()
    return _answer(Question(method="POST", url=url, body=body, headers=headers), ca_file)


def check_url(url: str) -> str:
    """The URL, if it is `https://host…` and nothing that two readers could read differently."""
    try:
        found = urllib.parse.urlsplit(url)
        plain = found.scheme == "https" and bool(found.hostname) and found.port != 0
    except ValueError:
        plain = False
    if (
        not plain
        or found.username is not None
        or found.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise HttpsError(f"`{url[:128]}` is no plain https URL")
    return url


def origin_of(url: str) -> str:
    """`https://host[:port]`; nothing when it is no plain URL."""
    try:
        return f"https://{urllib.parse.urlsplit(check_url(url)).netloc}"
    except HttpsError:
        return ""


def _done(asked: Question, ca_file: Path | None) -> bytes:
    status, body = _answer(asked, ca_file)
    if status not in DONE:  # a redirect is one: whom it names was not pinned
        raise HttpsError(f"`{asked.url}` answers {status}")
    return body


def _answer(asked: Question, ca_file: Path | None) -> tuple[int, bytes]:
    found = urllib.parse.urlsplit(check_url(asked.url))
    path = (found.path or "/") + (f"?{found.query}" if found.query else "")
    deadline = time.monotonic() + TIMEOUT_S
    try:
        connection = http.client.HTTPSConnection(
            str(found.hostname), found.port, timeout=TIMEOUT_S, context=_trusting(ca_file)
        )
        try:
            connection.request(asked.method, path, asked.body, asked.headers)
            answer = connection.getresponse()
            return answer.status, _read(answer, asked.url, deadline)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise HttpsError(f"`{asked.url}` does not answer: {str(exc)[:200]}") from exc


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _read(answer: http.client.HTTPResponse, url: str, deadline: float) -> bytes:
    """The whole body; a server that drips is left at the deadline."""
    body = b""
    while chunk := answer.read1(CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise HttpsError(f"`{url}` answers more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise HttpsError(f"`{url}` takes longer than {TIMEOUT_S:.0f} s")
    return body
