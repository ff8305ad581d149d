"""One node, one beginning: what a single key can have us do before it is served, however often it comes.

1. Of the streams of one node that are not served yet there is one, the latest; the one before it ends, and is told why. So no
   node stands in the line twice, and a line of many is a line of many nodes.
2. Streams of one node begin no faster than one a second, after a first handful: each reads a row, and may write one.
3. What is remembered of a node is forgotten once it would be let in as a newcomer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from controlplane.errors import BusyError, SupersededError

HANDFUL = 30  # what restarts, renewals and a bad network take together
EVERY_S = 1.0


class Beginnings:
    """One per process."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._open: dict[str, asyncio.Timeout] = {}
        self._paid: dict[str, float] = {}
        """Until when a node's beginnings are paid for; who came longest ago first."""

    @contextlib.asynccontextmanager
    async def only(self, node: str) -> AsyncIterator[None]:
        """Around what comes before a stream is served. BusyError: too often; SupersededError: a later one came."""
        self._pay(node)
        if node in self._open:
            self._open[node].reschedule(self._clock())
        mine = self._open[node] = asyncio.timeout(None)
        try:
            async with mine:
                yield
        except TimeoutError as exc:
            if mine.expired():
                raise SupersededError(node) from exc
            raise
        finally:
            if self._open.get(node) is mine:
                del self._open[node]

    def _pay(self, node: str) -> None:
        now = self._clock()
        until = max(self._paid.pop(node, now), now) + EVERY_S
        ahead_s = until - now - HANDFUL * EVERY_S
        if ahead_s > 0:
            self._paid[node] = until - EVERY_S
            raise BusyError(f"node `{node}` comes too often", hint="come back later", retry_s=ahead_s)
        self._paid[node] = until
        while self._paid and next(iter(self._paid.values())) <= now:  # (3)
            del self._paid[next(iter(self._paid))]
