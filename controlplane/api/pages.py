"""A few pages over HTTP/1.1, for machines: GET and HEAD, one request per connection. It takes no input and changes nothing.

A request that is late or long is cut off; a path without a page is 404.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

REQUEST_S = 5.0
MAX_REQUEST_BYTES = 8192
MAX_CLIENTS = 32
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    body: bytes
    kind: str = PLAIN
    status: HTTPStatus = HTTPStatus.OK


class Pages:
    """Serves what `page` gives for a path; None: there is no such page."""

    def __init__(self, page: Callable[[bytes], Awaitable[Page | None]]) -> None:
        self._page, self._clients = page, 0
        self._server: asyncio.Server | None = None

    async def start(self, listen: str, tls: ssl.SSLContext | None = None) -> int:
        """The port that was bound; OSError when it cannot be."""
        host, _, port = listen.rpartition(":")
        handshake_s = REQUEST_S if tls else None
        self._server = await asyncio.start_server(
            self._serve,
            host.strip("[]"),
            int(port),
            limit=MAX_REQUEST_BYTES,
            ssl=tls,
            ssl_handshake_timeout=handshake_s,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                if self._clients <= MAX_CLIENTS:
                    writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # nobody is owed an answer here
        finally:
            self._clients -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\r\n", 1)[0].split(b" ")
        method, path = (words[0], words[1].partition(b"?")[0]) if len(words) > 1 else (b"", b"")
        if method not in {b"GET", b"HEAD"}:
            return _response(Page(b"", status=HTTPStatus.METHOD_NOT_ALLOWED))
        found = _response(await self._page(path) or Page(b"", status=HTTPStatus.NOT_FOUND))
        return found if method == b"GET" else found[: found.index(b"\r\n\r\n") + 4]


def _response(page: Page) -> bytes:
    head = f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\ncontent-type: {page.kind}\r\n"
    return f"{head}content-length: {len(page.body)}\r\nconnection: close\r\n\r\n".encode() + page.body
