"""The plain HTTP port for machines that watch: `/metrics`, `/live`, `/ready`. It takes no input and changes nothing.

`/live` answers while the event loop turns: restarting what is merely not ready would end what still enforces.
`/ready` is 503 with one reason per line. Anything else is 404.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from controlplane.api import exposition
from controlplane.api.exposition import Metric
from controlplane.api.pages import Page, Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Where the answers come from."""

    metrics: Callable[[], Awaitable[Sequence[Metric]]]
    not_ready: Callable[[], Sequence[str]]
    """Why not, in the words of the operator; empty when ready."""


class Probes:
    """Serves one service's answers."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._pages = watched, Pages(self._page)

    async def start(self, listen: str) -> int:
        """The port that was bound; OSError when it cannot be."""
        return await self._pages.start(listen)

    async def stop(self) -> None:
        await self._pages.stop()

    async def _page(self, path: bytes) -> Page | None:
        if path == b"/live":
            return Page(b"ok\n")
        if path == b"/ready":
            reasons = self._watched.not_ready()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return Page("".join(f"{line}\n" for line in reasons or ["ok"]).encode(), status=status)
        if path == b"/metrics":
            return Page(exposition.render(await self._watched.metrics()), exposition.CONTENT_TYPE)
        return None
