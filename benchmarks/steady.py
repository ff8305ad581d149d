"""Requests that never stop, and are never tried again: half on connections that are kept, half on a new one each."""

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence

from benchmarks import load

WORKERS = 8


def bad(result: load.Result) -> int:
    """How many were not answered with 200."""
    return sum(count for status, count in result.statuses.items() if status != 200) + result.broken


async def ask(
    port: int, hosts: Sequence[str], body: bytes, stop: threading.Event, **headers: str
) -> load.Result:
    """Through the sidecar at `port`, hosts in turn, until told to stop."""
    result = load.Result()
    started = time.perf_counter()
    path = "/v1/embeddings"
    kept = [load.request(host, path, body, **headers) for host in hosts]
    once = [load.request(host, path, body, connection="close", **headers) for host in hosts]
    turns = itertools.count()

    async def worker(number: int) -> None:
        open_: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not stop.is_set():
            turn = next(turns)
            fresh, host = (turn + number) % 2 == 0, turn % len(hosts)
            try:
                if fresh:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                else:
                    open_ = open_ or await asyncio.open_connection("127.0.0.1", port)
                    reader, writer = open_
                writer.write(once[host] if fresh else kept[host])
                status = await load.response(reader)
                if fresh:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError, ValueError):
                result.broken += 1
                open_ = None
                continue
            result.statuses[status] = result.statuses.get(status, 0) + 1
        if open_:
            open_[1].close()
            await open_[1].wait_closed()

    await asyncio.gather(*(worker(number) for number in range(WORKERS)))
    result.seconds = time.perf_counter() - started
    return result
