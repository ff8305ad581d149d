"""The plain HTTP port for machines that watch: `/metrics`, `/live`, `/ready`, and what a service adds. It changes nothing.

`/live` answers while the event loop turns: restarting what is merely not ready would end what still enforces.
`/ready` is 503 with one reason per line. Anything else is 404, and a request that is late or long is cut off.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from controlplane.api import exposition
from controlplane.api.exposition import Metric
from controlplane.errors import ControlPlaneError

REQUEST_S = 5.0
MAX_REQUEST_BYTES = 8192
MAX_CLIENTS = 32
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """A further document."""

    body: bytes
    kind: str


async def nothing(path: str) -> Page | None:
    """No further documents."""
    del path
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Where the answers come from."""

    metrics: Callable[[], Awaitable[Sequence[Metric]]]
    not_ready: Callable[[], Sequence[str]]
    """Why not, in the words of the operator; empty when ready."""
    page: Callable[[str], Awaitable[Page | None]] = nothing
    """A further document by its path; None: there is none. ControlPlaneError: not now."""


class Probes:
    """Serves one service's answers."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._clients = watched, 0
        self._server: asyncio.Server | None = None

    async def start(self, listen: str) -> int:
        """The port that was bound; OSError when it cannot be."""
        host, _, port = listen.rpartition(":")
        self._server = await asyncio.start_server(
            self._serve, host.strip("[]"), int(port), limit=MAX_REQUEST_BYTES
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
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"")
        found = await self._page(path)
        return found if method == b"GET" else found[: found.index(b"\r\n\r\n") + 4]

    async def _page(self, path: bytes) -> bytes:
        if path == b"/live":
            return _response(HTTPStatus.OK, b"ok\n")
        if path == b"/ready":
            reasons = self._watched.not_ready()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return _response(status, "".join(f"{line}\n" for line in reasons or ["ok"]).encode())
        if path == b"/metrics":
            body = exposition.render(await self._watched.metrics())
            return _response(HTTPStatus.OK, body, exposition.CONTENT_TYPE)
        return await self._further(path.decode("latin-1"))

    async def _further(self, path: str) -> bytes:
        try:
            found = await self._watched.page(path)
        except ControlPlaneError:
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, b"")
        return (
            _response(HTTPStatus.OK, found.body, found.kind)
            if found
            else _response(HTTPStatus.NOT_FOUND, b"")
        )


def _response(status: HTTPStatus, body: bytes, kind: str = PLAIN) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    )
    return f"{head}connection: close\r\n\r\n".encode() + body
