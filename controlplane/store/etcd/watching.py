"""Watch a prefix for ever: every later change once and in order, whatever happens to streams, members and leaders.

1. After a break the next stream starts at the revision after the last one that was handed out whole.
2. A stream that says nothing is asked for a sign of life; without an answer it is left for another member.
3. `hasleader` makes a member that lost its leader end the stream, instead of keeping it in a past of its own.
4. Compacted history, or one shorter than what we saw, is CompactedError: the caller lists again and compares. A member that
   is only behind the others is waited for.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from controlplane.errors import CompactedError, UnavailableError
from controlplane.store.etcd.connection import AmbiguousError, Connection, translated
from controlplane.store.etcd.stubs import rpc

log = structlog.get_logger()
QUIET_S = 3.0  # then a sign of life is asked for
STALLED_S = 3.0  # and if none comes, the stream is given up
START_S = 3.0
FIRST_PAUSE_S, MAX_PAUSE_S = 0.05, 2.0


async def watch(connection: Connection, start: bytes, end: bytes, after: int) -> AsyncIterator[list[Any]]:
    """Events of etcd's in [start, end), a list per whole revision or more."""
    pause = FIRST_PAUSE_S
    while True:
        endpoint = connection.endpoint
        try:
            async for events in _stream(connection, endpoint, start, end, after):
                pause = FIRST_PAUSE_S
                after = events[-1].kv.mod_revision
                yield events
        except (grpc.aio.AioRpcError, UnavailableError, TimeoutError) as exc:
            error = translated(exc, endpoint) if isinstance(exc, grpc.aio.AioRpcError) else exc
            if not isinstance(error, AmbiguousError | TimeoutError | UnavailableError):
                raise error from exc
            log.info("watch_lost", endpoint=endpoint, after=after, reason=str(error) or "silent")
        connection.rotate(endpoint)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(pause * 2, MAX_PAUSE_S)


async def _stream(
    connection: Connection, endpoint: str, start: bytes, end: bytes, after: int
) -> AsyncIterator[list[Any]]:
    metadata = (*await connection.metadata(), ("hasleader", "true"))
    call = rpc.WatchStub(connection.channel(endpoint)).Watch(metadata=metadata)
    try:
        create = rpc.WatchCreateRequest(key=start, range_end=end, start_revision=after + 1, fragment=True)
        async with asyncio.timeout(START_S):
            await call.write(rpc.WatchRequest(create_request=create))
            created = await call.read()
        _check_created(created)
        if created.header.revision < after:
            await _check_not_older(connection, start, after)
        held: list[Any] = []
        while True:
            response = await _next(call)
            _check_going_on(response)
            held += response.events
            if held and not response.fragment:
                yield held
                held = []
    finally:
        call.cancel()


async def _next(call: Any) -> Any:
    """The next answer, of a stream that is known to live."""
    reading = asyncio.ensure_future(call.read())
    try:
        done, _ = await asyncio.wait({reading}, timeout=QUIET_S)
        if not done:
            async with asyncio.timeout(STALLED_S):
                await call.write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))
                await asyncio.shield(reading)
        return await reading
    finally:
        reading.cancel()


def _check_created(response: Any) -> None:
    _check_going_on(response)
    if not response.created:
        raise UnavailableError("etcd did not begin the watch")


async def _check_not_older(connection: Connection, key: bytes, after: int) -> None:
    """A member says where it is itself; where the cluster is, a linearizable read says."""
    reply = await connection.read("KV.Range", rpc.RangeRequest(key=key, keys_only=True))
    if reply.header.revision < after:
        raise CompactedError(
            f"etcd is at revision {reply.header.revision}, we were at {after}: an older state"
        )


def _check_going_on(response: Any) -> None:
    if response is grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
        raise UnavailableError("etcd ended the watch")
    if response.compact_revision:
        raise CompactedError(f"history starts at revision {response.compact_revision}")
    if response.canceled:
        raise UnavailableError(f"etcd cancelled the watch: {response.cancel_reason}")
