"""One writer per process: groups go out one after the other, and no outcome stays unknown.

1. Every group compares and writes the writer's own key. Its revision is the fence: whoever took the name over has moved it, and
   the process before can write nothing more.
2. An answer that was lost is never repeated blindly. A fence is written instead, under the same compare: if it goes
   through, the lost group did not, and never will; if its compare fails, the mark in the key says whose group was applied.
3. What a group that was applied did is read at its own revision, however much has changed since.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from controlplane.errors import ControlPlaneError, ExistsError, UnavailableError
from controlplane.store.checks import conflict
from controlplane.store.etcd import groups
from controlplane.store.etcd.connection import AmbiguousError, Connection
from controlplane.store.etcd.groups import Pending
from controlplane.store.etcd.stubs import rpc

SETTLE_S = 15.0  # how long an unknown outcome is asked for before commits fail
PAUSE_S = 0.1


class Writer:
    """Commits in groups, under a name that only one process may hold at a time."""

    def __init__(self, connection: Connection, data: str, key: str) -> None:
        self._connection, self._data, self._key = connection, data, key
        self._waiting: list[Pending] = []
        self._running: asyncio.Task[None] | None = None
        self._revision = 0
        self._prefix, self._count = os.urandom(12), 0
        self._settled = True

    async def take_over(self) -> None:
        """From now on nobody else writes under this name: a process that did finds its fence moved."""
        mark = self._mark()
        put = rpc.PutRequest(key=self._key.encode(), value=mark)
        for _ in range(len(self._connection.endpoints) + 1):
            try:
                reply = await self._connection.once("KV.Put", put)
            except AmbiguousError as exc:
                last = exc
                await asyncio.sleep(PAUSE_S)  # the same mark again: writing it twice is writing it
            else:
                self._revision = reply.header.revision
                return
        raise UnavailableError(str(last), hint=last.hint)

    async def commit(self, pending: Pending) -> int:
        self._waiting.append(pending)
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        # A caller that leaves must not take a group with it: its commit may already be under way.
        return await asyncio.shield(pending.done)

    async def close(self) -> None:
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        await asyncio.sleep(0)  # whoever is ready in this turn comes along
        while self._waiting:
            group = groups.take(self._waiting)
            try:
                results = await self._group(group)
            except ControlPlaneError as exc:
                results = [exc] * len(group)
            except Exception as exc:  # noqa: BLE001 - a commit must end; what we do not know is no success
                results = [UnavailableError(f"etcd: {exc}")] * len(group)
            for pending, result in zip(group, results, strict=True):
                _finish(pending, result)

    async def _group(self, group: Sequence[Pending]) -> Sequence[int | ControlPlaneError]:
        if not self._settled:
            await self._settle(b"")  # what came before must be known before anything follows it
        mark = self._mark()
        inner = [groups.nested(one, self._data) for one in group]
        for _ in range(2):
            try:
                reply = await self._connection.once(
                    "KV.Txn", groups.outer(self._key, self._revision, mark, inner)
                )
            except AmbiguousError:
                self._settled = False
                revision = await self._settle(mark)
                if not revision:
                    raise UnavailableError("etcd gave no answer; nothing was written") from None
                return [await self._outcome(one, revision) for one in group]
            if reply.succeeded:
                self._revision = reply.header.revision
                answers = zip(group, reply.responses[1:], strict=True)
                return [_result(one, op.response_txn, self._revision) for one, op in answers]
            if self._ours(reply) == mark:  # it arrived twice, and this is the answer to the second
                return [await self._outcome(one, self._revision) for one in group]
            # Our own key, moved by a call of ours that came late: the group was not applied, and may go again.
        raise UnavailableError("etcd delivers calls out of order; nothing was written")

    def _ours(self, refused: Any) -> bytes:
        """The mark that stands in our key, which is ours; ExistsError when somebody else's does."""
        found = next(iter(refused.responses[0].response_range.kvs), None)
        if found is None or not found.value.startswith(self._prefix):
            hint = "give each replica a name of its own: replica.name"
            raise ExistsError("another control plane writes under this replica's name", hint=hint)
        self._revision = found.mod_revision
        return bytes(found.value)

    async def _settle(self, mark: bytes) -> int:
        """The revision at which the group with `mark` was applied; 0: it was not, and never will be."""
        fence = self._mark()
        request = groups.outer(self._key, self._revision, fence, ())
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while True:
            try:
                reply = await self._connection.once("KV.Txn", request)
                break
            except AmbiguousError as exc:
                if asyncio.get_running_loop().time() > deadline:
                    hint = "whether the last change was made is not known: look before you repeat it"
                    raise UnavailableError(f"etcd gives no answer: {exc}", hint=hint) from exc
                await asyncio.sleep(PAUSE_S)
        if reply.succeeded:
            self._revision, self._settled = reply.header.revision, True
            return 0
        # What stands there is later than what we knew: an earlier try of this fence, or the group.
        applied = self._ours(reply) == mark
        self._settled = True
        return self._revision if applied else 0

    async def _outcome(self, one: Pending, revision: int) -> int | ControlPlaneError:
        """Did this commit of a group that was applied hold? Read as of then."""
        key = next(iter(one.put), None)
        if key is not None:
            found = await self._at(key, revision)
            return revision if found == revision else conflict(key, 0, found)
        gone = [not await self._at(key, revision) and await self._at(key, revision - 1) for key in one.delete]
        return revision if all(gone) else conflict(one.delete[0], 0, revision)

    async def _at(self, key: str, revision: int) -> int:
        request = rpc.RangeRequest(key=(self._data + key).encode(), revision=revision, keys_only=True)
        reply = await self._connection.read("KV.Range", request)
        return reply.kvs[0].mod_revision if reply.kvs else 0

    def _mark(self) -> bytes:
        self._count += 1
        return self._prefix + self._count.to_bytes(8, "big")


def _result(one: Pending, reply: Any, revision: int) -> int | ControlPlaneError:
    if reply.succeeded:
        return revision
    for (key, wanted), op in zip(one.expect.items(), reply.responses, strict=True):
        kvs = op.response_range.kvs
        found = kvs[0].mod_revision if kvs else 0
        if found != wanted:
            return conflict(key, wanted, found)
    raise RuntimeError("etcd refused a commit whose expectations hold")


def _finish(pending: Pending, result: int | ControlPlaneError) -> None:
    if pending.done.cancelled():
        return
    if isinstance(result, int):
        pending.done.set_result(result)
    else:
        pending.done.set_exception(result)
