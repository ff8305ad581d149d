"""The store in memory: what tests use, and the plainest reading of the port. Lost when the process ends."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

from controlplane.errors import CompactedError
from controlplane.store.base import Event, Expect, Item, Lists
from controlplane.store.checks import check_commit, conflict


class MemoryStore:
    """One event loop owns it; no method yields between reading and writing, so commits are atomic."""

    def __init__(self, *, history: int = 10_000) -> None:
        self._items: dict[str, Item] = {}
        self._events: deque[Event] = deque()
        self._revision, self._compacted, self._history = 0, 0, history
        self._changed = asyncio.Condition()

    async def get(self, key: str) -> Item | None:
        return self._items.get(key)

    async def list(self, prefix: str) -> tuple[list[Item], int]:
        return [item for key, item in sorted(self._items.items()) if key.startswith(prefix)], self._revision

    async def snapshot(self, prefixes: Sequence[str]) -> tuple[Lists, int]:
        return [(await self.list(prefix))[0] for prefix in prefixes], self._revision

    async def commit(self, *, expect: Expect, put: Mapping[str, bytes], delete: Sequence[str] = ()) -> int:
        check_commit(expect, put, delete)
        for key, revision in expect.items():
            found = self._items[key].revision if key in self._items else 0
            if found != revision:
                raise conflict(key, revision, found)
        self._revision += 1
        for key, value in put.items():
            self._items[key] = Item(key, value, self._revision)
            self._events.append(Event(self._revision, key, value))
        for key in delete:
            if self._items.pop(key, None):
                self._events.append(Event(self._revision, key, None))
        self._compact()
        async with self._changed:
            self._changed.notify_all()
        return self._revision

    def _compact(self) -> None:
        while len(self._events) > self._history:
            self._compacted = self._events.popleft().revision
        while self._events and self._events[0].revision == self._compacted:  # never half of a commit
            self._events.popleft()

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        while True:
            if after < self._compacted:
                raise CompactedError(f"history starts at revision {self._compacted}")
            fresh = [event for event in self._events if event.revision > after]
            after = self._revision
            for event in fresh:
                if event.key.startswith(prefix):
                    yield event
            async with self._changed:
                await self._changed.wait_for(lambda: self._revision > after)  # noqa: B023 - waits in this turn

    async def close(self) -> None:
        """Nothing to release."""
