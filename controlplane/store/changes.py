"""What a group of commits makes of the rows it found: judged one after the other, before anything is written.

A store that writes the whole group at once asks for rows and writes them in one statement each, however many commits there are.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.errors import ConflictError
from controlplane.store.base import Event, Expect, Item
from controlplane.store.checks import conflict


@dataclass(frozen=True, slots=True)
class Pending:
    """A commit waiting for its group."""

    expect: Expect
    put: Mapping[str, bytes]
    delete: Sequence[str]
    done: "asyncio.Future[int]"


class Changes:
    """Of one group. `found`: the revision of each key that its commits compare or delete, where there is one."""

    def __init__(self, found: Mapping[str, int], revision: int) -> None:
        self._found, self.revision = dict(found), revision
        self._last: dict[str, Event] = {}
        self.events: list[Event] = []

    def apply(self, one: Pending) -> int | ConflictError:
        """The revision of this commit; a ConflictError, and nothing is changed, when an expectation does not hold."""
        for key, wanted in one.expect.items():
            found = self._found.get(key, 0)
            if found != wanted:
                return conflict(key, wanted, found)
        self.revision += 1
        for key, value in one.put.items():
            self._change(key, value, self.revision)
        for key in one.delete:
            if self._found.get(key):
                self._change(key, None, 0)
        return self.revision

    def _change(self, key: str, value: bytes | None, found: int) -> None:
        self._found[key] = found
        self._last[key] = event = Event(self.revision, key, value)
        self.events.append(event)

    @property
    def put(self) -> list[Item]:
        """The rows that are there afterwards, each once."""
        last = self._last.values()
        return [Item(one.key, one.value, one.revision) for one in last if one.value is not None]

    @property
    def gone(self) -> list[str]:
        return [one.key for one in self._last.values() if one.value is None]
