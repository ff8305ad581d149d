"""Commits that travel together: many in one transaction of etcd's, so that one certificate does not cost one consensus round.

Each commit is a nested transaction with compares of its own: one that fails changes nothing and fails alone. All
compares are evaluated before anything is written, so commits of one group must not touch each other's keys.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.store.base import Expect
from controlplane.store.checks import commit_bytes
from controlplane.store.etcd.stubs import rpc, transactions

MAX_OPERATIONS = 126  # etcd refuses more than 128 along one path of nested transactions
MAX_BYTES = 1_200_000  # etcd refuses requests above 1.5 MiB


@dataclass(slots=True, eq=False)
class Pending:
    """A commit waiting for its group; values are sealed already."""

    expect: Expect
    put: Mapping[str, bytes]
    delete: Sequence[str]
    done: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def changed(self) -> set[str]:
        return {*self.put, *self.delete}

    @property
    def operations(self) -> int:
        return max(len(self.expect), len(self.put) + len(self.delete))

    @property
    def size(self) -> int:
        return commit_bytes(self.expect, self.put, self.delete) + 64 * (len(self.expect) + len(self.put))


def take(waiting: list[Pending]) -> list[Pending]:
    """Remove from `waiting` what may form one group, in order; the first always does."""
    group: list[Pending] = []
    left: list[Pending] = []
    changed: set[str] = set()
    read: set[str] = set()
    size = deepest = 0
    for one in waiting:
        deep, bytes_ = max(deepest, one.operations), size + one.size
        fits = deep + len(group) + 1 <= MAX_OPERATIONS and bytes_ <= MAX_BYTES
        apart = not (one.changed & (changed | read) or changed & set(one.expect))
        if group and not (fits and apart):
            left.append(one)
        else:
            group.append(one)
            size, deepest = bytes_, deep
        # Whoever waits keeps its place: a later commit on the same keys must not overtake it.
        changed |= one.changed
        read |= set(one.expect)
    waiting[:] = left
    return group


def nested(one: Pending, path: str) -> Any:
    """A commit as a transaction; when it fails it says which revisions it found instead."""
    compares = [_unchanged(path + key, revision) for key, revision in one.expect.items()]
    puts = [
        rpc.RequestOp(request_put=rpc.PutRequest(key=(path + key).encode(), value=value))
        for key, value in one.put.items()
    ]
    deletes = [
        rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=(path + key).encode()))
        for key in one.delete
    ]
    found = [
        rpc.RequestOp(request_range=rpc.RangeRequest(key=(path + key).encode(), keys_only=True))
        for key in one.expect
    ]
    return rpc.TxnRequest(compare=compares, success=puts + deletes, failure=found)


def _unchanged(key: str, revision: int) -> Any:
    return (transactions.Mod(key) == revision).build_message()


def outer(writer: str, writer_revision: int, mark: bytes, inner: Iterable[Any]) -> Any:
    """A group, if nobody has written `writer` since. `mark` says afterwards that it was applied."""
    put = rpc.RequestOp(request_put=rpc.PutRequest(key=writer.encode(), value=mark))
    return rpc.TxnRequest(
        compare=[_unchanged(writer, writer_revision)],
        success=[put, *(rpc.RequestOp(request_txn=one) for one in inner)],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=writer.encode()))],
    )
