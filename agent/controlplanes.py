"""The control planes of the mesh as this node reaches them: one at a time, and the next when it does not serve us.

Each channel is made with the certificate and the CAs of its moment. Any control plane will do: what it says is believed
for its signatures, and none can offer less than what was accepted before.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc

from agent import channel
from agent.identity import Identity

T = TypeVar("T")
CLOSE_S = 20  # how long calls at a control plane that we left may still take


class ControlPlanes:
    """Holds the one channel."""

    def __init__(
        self,
        addresses: Sequence[str],
        identity: Callable[[], Identity],
        cas: Callable[[], tuple[bytes, ...]],
    ) -> None:
        """`cas`: whom to believe as a control plane, DER."""
        self._addresses = deque(addresses)
        self._addresses.rotate(random.randrange(len(self._addresses)))  # noqa: S311 - spreads agents over replicas
        self._identity, self._cas = identity, cas
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Future[None]] = set()

    def channel(self) -> grpc.aio.Channel:
        """To the one that serves us."""
        if self._channel is None:
            self._channel = self._to(self._addresses[0])
        return self._channel

    def move(self) -> None:
        """This one does not serve us: take the next. Other calls there may still end."""
        self._addresses.rotate(-1)
        old, self._channel = self._channel, None
        if old is not None:
            closing = asyncio.ensure_future(old.close(CLOSE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def renewed(self) -> None:
        """End what goes on with the certificate before."""
        old, self._channel = self._channel, None
        if old is not None:
            await old.close(None)

    async def ask(self, question: Callable[[grpc.aio.Channel], Awaitable[T]], failure: type[Exception]) -> T:
        """The answer of the one that serves us, at `failure` of another: one that is cut off, or new, does not issue."""
        try:
            return await question(self.channel())
        except failure as exc:
            for address in list(self._addresses)[1:]:
                with contextlib.suppress(failure):
                    async with self._to(address) as other:
                        return await question(other)
            raise exc from None

    def _to(self, address: str) -> grpc.aio.Channel:
        mine = self._identity()
        return channel.mutual(address, mine.spiffe_id.trust_domain, self._cas(), mine)
