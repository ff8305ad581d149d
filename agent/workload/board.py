"""The newest world, and whoever waits for the next. Latest wins: a slow stream skips what it missed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from agent.workload.entitled import Problem, World
from agent.workload.errors import NotReadyError

T = TypeVar("T")
READY_S = 5.0  # how long a first answer may wait for a certificate that is being issued


class Board:
    """Holds one world at a time."""

    def __init__(self) -> None:
        self.world = World(problem=Problem(text="the agent is starting", for_good=False))
        self.moved = asyncio.Event()
        """Set once `world` is another; then there is a new one."""

    def show(self, world: World) -> None:
        if world == self.world:
            return
        self.world = world
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()

    async def ready(self, render: Callable[[World], T]) -> T:
        """The first answer that can be given; its NotReadyError if there is none soon."""
        try:
            async with asyncio.timeout(READY_S):
                async for answer in self.follow(render):
                    return answer
        except TimeoutError:
            return render(self.world)
        raise RuntimeError("a board is followed for ever")

    async def follow(self, render: Callable[[World], T]) -> AsyncIterator[T]:
        """Every answer that differs from the one before. What is not ready is waited for, what is refused ends it."""
        last: T | None = None
        while True:
            moved = self.moved
            try:
                answer = render(self.world)
                if answer != last:
                    yield answer
                    last = answer
            except NotReadyError:
                pass
            await moved.wait()
