"""A load generator small enough to share two cores with what it measures: HTTP/1.1 with keep-alive over asyncio."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Result:
    """What one run saw."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    broken: int = 0

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


Next = Callable[[], tuple[int, bytes]]
"""What to ask next: (port, raw request)."""


async def run(following: Next, *, connections: int, seconds: float) -> Result:
    """Keep `connections` requests in flight for `seconds`."""
    result = Result()
    end = time.perf_counter() + seconds
    started = time.perf_counter()
    await asyncio.gather(*(_worker(following, end, result) for _ in range(connections)))
    result.seconds = time.perf_counter() - started
    return result


async def _worker(following: Next, end: float, result: Result) -> None:
    open_: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
    while time.perf_counter() < end:
        port, request = following()
        began = time.perf_counter()
        try:
            if port not in open_:
                open_[port] = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = open_[port]
            writer.write(request)
            status = await response(reader)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            result.broken += 1
            open_.pop(port, None)
            continue
        result.latencies_ms.append((time.perf_counter() - began) * 1000)
        result.statuses[status] = result.statuses.get(status, 0) + 1
    for _, writer in open_.values():
        writer.close()


async def response(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(lower[at + 15 : lower.index(b"\r\n", at)]))
    elif b"chunked" in lower:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return status


def request(host: str, path: str, body: bytes, **headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
