"""Who is let in when thousands come at once: so many at a time, renewals first, and nobody waits in a queue without end.

1. Streams that begin: a bounded number is being served, a bounded number waits in order. Whoever comes after them is told when to
   come back, so that waiting costs the agent a timer and us nothing.
2. Renewals do not wait for streams: while many are under way, streams begin one at a time. A stream that is late costs
   news that a lease bounds; a renewal that is late costs the node.
3. Other calls of nodes are bounded too. Operators and other replicas are never turned away: they are few, and they are the cure.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator

from controlplane.errors import BusyError

AT_ONCE = 32  # streams whose beginning is being served
MAX_WAITING = 2048  # streams that said hello and are not served yet
MANY_RENEWALS = 16  # from so many under way on, streams begin one at a time
MAX_RENEWALS, MAX_OTHERS = 1024, 256
RETRY_S, MAX_RETRY_S = 1.0, 10.0


class Admission:
    """One per process."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._queue: deque[asyncio.Future[None]] = deque()
        self.arrived = self._served = self._renewals = self._others = 0
        self._took_s = 0.0  # for one beginning, a moving average
        self.refused = 0

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """Around all that comes before a stream is served; BusyError when too many are there."""
        if self.arrived >= MAX_WAITING:
            raise self._busy("too many agents come at once", self.arrived * self._took_s / AT_ONCE)
        self.arrived += 1
        try:
            yield
        finally:
            self.arrived -= 1

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around the work at the beginning of a stream; waits for its turn."""
        await self._wait()
        started = self._clock()
        try:
            yield
        finally:
            self._took_s += (self._clock() - started - self._took_s) / AT_ONCE
            self._served -= 1
            self._next()

    @contextlib.contextmanager
    def renewal(self) -> Iterator[None]:
        if self._renewals >= MAX_RENEWALS:
            raise self._busy("too many renewals at once", RETRY_S)
        self._renewals += 1
        try:
            yield
        finally:
            self._renewals -= 1
            self._next()

    @contextlib.contextmanager
    def other(self) -> Iterator[None]:
        if self._others >= MAX_OTHERS:
            raise self._busy("too many calls at once", RETRY_S)
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1

    async def _wait(self) -> None:
        if not self._queue and self._served < self._room():
            self._served += 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # its turn had come
                self._served -= 1
                self._next()
            raise

    def _next(self) -> None:
        while self._queue and self._served < self._room():
            first = self._queue.popleft()
            if not first.done():
                self._served += 1
                first.set_result(None)

    def _room(self) -> int:
        return 1 if self._renewals >= MANY_RENEWALS else AT_ONCE

    def _busy(self, what: str, retry_s: float) -> BusyError:
        self.refused += 1
        return BusyError(what, hint="come back later", retry_s=min(max(retry_s, RETRY_S), MAX_RETRY_S))
