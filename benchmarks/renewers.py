"""A process of nodes that renew once each, a bounded number at a time, on connections that stand already. Driven by `issuance`.
A line on stdin begins, another one ends before all have renewed.

Plain HTTP/2 (`http2`), so that the load takes less of the cores that it shares with what is measured.

python -m benchmarks.renewers FLEET TRUST-DOMAIN FIRST COUNT IN-FLIGHT PAUSE-MS ADDRESS…
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from benchmarks.nodes import Nodes
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import identity_pb2

OPENING = 32
PATH = "/writ.v1.Identity/Renew"
INVALID_ARGUMENT = "3"


class Renewer:
    """One node, one connection."""

    def __init__(self, nodes: Nodes, number: int) -> None:
        self._nodes, self._number = nodes, number
        self._reply: asyncio.Future[bytes] | None = None
        self.request = identity_pb2.RenewRequest(
            csr=make_csr(keys.generate_p256()), idempotency_key=f"renew-{number:014d}"
        ).SerializeToString()

    async def open(self) -> None:
        """A call that is refused needs the handshake, and nothing of what is measured."""
        self._connection = await self._nodes.open(self._number, self._number, self._message, self._ended)
        try:
            await self.call(b"")
        except ConnectionError as exc:
            if str(exc) != INVALID_ARGUMENT:
                raise

    async def renew(self) -> bytes:
        if self._connection.closed:  # the server does not keep idle ones for ever
            await self.open()
        return await self.call(self.request)

    async def call(self, request: bytes) -> bytes:
        self._reply = asyncio.get_running_loop().create_future()
        self._connection.call(PATH, request, last=True)
        return await self._reply

    def _message(self, _: int, data: bytes) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(data)

    def _ended(self, _: int, status: str, __: dict[str, str]) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError(status))


async def main(nodes: Nodes, first: int, count: int, in_flight: int, pause_s: float) -> None:
    all_ = [Renewer(nodes, number) for number in range(first, first + count)]
    for start in range(0, count, OPENING):
        await asyncio.gather(*(one.open() for one in all_[start : start + OPENING]))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    waiting, stop = iter(all_), asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    took: list[float] = []
    certificates: set[bytes] = set()
    started = time.monotonic()

    async def work() -> None:
        for one in waiting:
            if stop.done():
                return
            began = time.monotonic()
            reply = await one.renew()
            took.append(time.monotonic() - began)
            certificates.add(reply)
            if pause_s:
                await asyncio.sleep(pause_s)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    ended = time.monotonic()
    distinct = len({identity_pb2.RenewResponse.FromString(reply).chain[0] for reply in certificates})
    print(json.dumps({"from": started, "to": ended, "took": took, "distinct": distinct}), flush=True)
    os._exit(0)  # thousands of channels take longer to close than to use


async def _run(
    fleet: str, domain: str, first: str, count: str, in_flight: str, pause_ms: str, *addresses: str
) -> None:
    nodes = Nodes(Path(fleet), domain, addresses)
    await main(nodes, int(first), int(count), int(in_flight), int(pause_ms) / 1000)


if __name__ == "__main__":
    uvloop.run(_run(*sys.argv[1:]))
