"""The store port: a small ordered key-value store with revisions, compare-and-set and resumable watches.

Keys are text, values bytes, revisions grow by one per commit. The semantics are etcd's, because etcd is one adapter:
every commit is atomic and durable when it returns; a watch from a revision sees every later change exactly once.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 1 << 20  # below etcd's 1.5 MiB request limit
MAX_COMMIT_BYTES = (1 << 20) + (64 << 10)  # keys and values of one commit together, for the same reason
MAX_OPERATIONS = 100  # below etcd's 128 per transaction


@dataclass(frozen=True, slots=True)
class Item:
    """A key as stored; `revision` is of its last change."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """One change; `value` None: deleted."""

    revision: int
    key: str
    value: bytes | None


Expect = Mapping[str, int]
"""Key -> the revision of its last change that the caller has read; 0: the key does not exist."""


Lists = list[list[Item]]
"""One list per prefix that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One server of a store, or its one file. `errors` are its own words: an alarm, a missing leader."""

    name: str
    up: bool
    leads: bool = False
    version: str = ""
    size: int = 0  # bytes on disk
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a store is, as far as its members say. `room`: bytes left on its device; -1: not ours to know."""

    kind: str  # memory, sqlite, etcd
    members: tuple[Member, ...]
    room: int = -1


class Store(Protocol):
    """One adapter per kind of storage; all pass `tests/conformance/store.py`."""

    async def get(self, key: str) -> Item | None: ...

    async def list(self, prefix: str) -> tuple[list[Item], int]:
        """Items in key order, and the revision they are of: a watch may start after it."""
        ...

    async def snapshot(self, prefixes: Sequence[str]) -> tuple[Lists, int]:
        """Several lists, all of one revision."""
        ...

    async def commit(self, *, expect: Expect, put: Mapping[str, bytes], delete: Sequence[str] = ()) -> int:
        """Apply all or nothing; ConflictError when an expectation does not hold. Returns the new revision."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        """Changes after a revision, in order, each once; CompactedError when history does not reach back."""
        ...

    async def health(self) -> Health:
        """Soon, whatever is down: it is asked for when something is."""
        ...

    async def close(self) -> None: ...
