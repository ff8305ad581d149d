"""Which peers this node can reach at all: a TCP connection to their sidecars now and then, told to the control plane.

It proves a route, nothing else: who answers is proven by TLS when a request is made. A node that may call thousands of
peers tries some of them, others each time.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

from policies.documents import Peer

EVERY_S, FIRST_S, TRY_S = 60.0, 5.0, 2.0
AT_ONCE, MAX_PEERS = 8, 64


class Reach:
    """Knows who could not be reached when it was last tried."""

    def __init__(self, peers: Callable[[], Sequence[Peer]]) -> None:
        self._peers = peers
        self.unreachable: tuple[str, ...] = ()

    async def run(self) -> None:
        pause = FIRST_S
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            await self.look()
            pause = EVERY_S

    async def look(self) -> None:
        peers = list(self._peers())
        chosen = random.sample(peers, min(len(peers), MAX_PEERS))
        turns = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(_answers(peer.address, turns) for peer in chosen))
        self.unreachable = tuple(
            sorted(peer.node for peer, answered in zip(chosen, answers, strict=True) if not answered)
        )


async def _answers(address: str, turns: asyncio.Semaphore) -> bool:
    host, _, port = address.rpartition(":")
    async with turns:
        try:
            async with asyncio.timeout(TRY_S):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError, ValueError):
            return False
    writer.close()
    return True
