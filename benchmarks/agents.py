"""A process of simulated agents: each with a certificate, a TLS connection and a Sync stream of its own. Driven by `crowd`.

They answer as agents do: enforced, with a signed receipt, for every generation that comes; health that says nothing new twice a
minute; when they are left they come back as spread as they were told. What they do
not do is to verify what they are told, and to drive an Envoy: that costs the agent's machine, not the control plane's.

python -m benchmarks.agents FLEET TRUST-DOMAIN FIRST COUNT spread|together ADDRESS…
"""

import asyncio
import base64
import json
import os
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import uvloop

from agent.sync import FIRST_BACKOFF_S, MAX_BACKOFF_S, UNCHANGED_S
from benchmarks.http2 import Connection
from benchmarks.nodes import Nodes
from certs import envelope
from controlplane.api.gen import sync_pb2
from controlplane.api.retry import DETAILS, told
from policies import documents as d
from policies import payloads

OPENING = 24  # connections of one process that are being opened at a time: more would outlast the time for a handshake
PATH = "/writ.v1.Sync/Connect"
PATIENCE_S = 60
ENFORCE_S = 0.04  # what an agent and its Envoy take, by the benchmark `revoke`
Request = sync_pb2.SyncRequest


class Agent:
    """One node. Comes back when its stream ends, to the next control plane, as agents do."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self._crowd, self._number = crowd, number
        self._at = number if crowd.spread else 0
        self._connection: Connection | None = None
        self._stream = 0
        self._trust = ""
        self._generation = self._held = 0
        self._backoff_s, self._asked_s, self._spread_s = FIRST_BACKOFF_S, 0.0, 0.0
        self.served = False
        self.began = 0.0

    async def connect(self) -> None:
        self.served, self.began = False, time.monotonic()
        try:
            self._connection = await self._crowd.nodes.open(
                self._number, self._at, self._message, self._ended
            )
        except (OSError, TimeoutError) as exc:
            self._crowd.failures[type(exc).__name__] += 1
            self._again()
            return
        hello = sync_pb2.Hello(ingress_address="127.0.0.1:7443", trust_digest=self._trust)
        try:
            self._stream = self._connection.call(PATH, Request(hello=hello).SerializeToString(), last=False)
        except ConnectionError:
            self._ended(0, "", {})
            return
        self._crowd.loop.call_later(UNCHANGED_S * random.random(), self._health, self._connection)

    def slow_down(self) -> None:
        if self._connection is not None:
            self._connection.stop_taking()

    def _message(self, _: int, data: bytes) -> None:
        now = time.monotonic()
        told = self._crowd.read(data)
        self._spread_s = told.spread_ms / 1000 or self._spread_s
        if not self.served:
            self.served, self._crowd.last_served, self._backoff_s = True, now, FIRST_BACKOFF_S
        if told.tickets:
            self._crowd.tickets.setdefault(self._number, now)
            self._held = max(_payload(ticket, d.TYPE_TICKET)["policy_version"] for ticket in told.tickets)
            self._crowd.loop.call_later(ENFORCE_S, self._enforcing)
        if told.trust_document:
            generation = self._crowd.generation(told.trust_document)
            self._crowd.arrived[generation].append(now)
            self._trust = self._crowd.digest(told.heartbeat)
            self._crowd.loop.call_later(ENFORCE_S * random.uniform(0.5, 1.5), self._enforced, generation)

    def _enforced(self, generation: int) -> None:
        if self._connection is None:
            return
        self._generation = generation
        self._enforcing(self._crowd.nodes.receipt(self._number, generation))

    def _enforcing(self, receipt: bytes = b"") -> None:
        said = sync_pb2.Enforcing(
            generation=self._generation,
            policy_version=self._held,
            staged_versions=[self._held],
            receipt=receipt,
        )
        if self._connection is not None:
            self._connection.send(self._stream, Request(enforcing=said).SerializeToString())

    def _health(self, connection: Connection) -> None:
        if connection is self._connection and connection.transport is not None:
            health = sync_pb2.Health(lease_until=int(time.time()) + 900, clock_ms=int(time.time() * 1000))
            connection.send(self._stream, Request(health=health).SerializeToString())
            self._crowd.loop.call_later(UNCHANGED_S, self._health, connection)

    def _ended(self, _: int, status: str, said: dict[str, str]) -> None:
        self._crowd.failures[f"status {status or 'lost'}"] += 1
        self._asked_s = _retry_s(said)
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.close()
        self._connection, self.served = None, False
        self._again()

    def _again(self) -> None:
        self._at += 1
        pause, self._spread_s = self._spread_s * random.random(), 0.0
        if self._asked_s:
            pause += self._asked_s * random.uniform(0.5, 1.5)
            self._asked_s = 0.0
        else:
            pause += self._backoff_s * random.uniform(0.5, 1.0)
            self._backoff_s = min(self._backoff_s * 2, MAX_BACKOFF_S)
        self._crowd.loop.call_later(pause, lambda: self._crowd.spawn(self.connect()))


class Crowd:
    """The agents of this process, and what they share: what was read once."""

    def __init__(self, nodes: Nodes, *, spread: bool) -> None:
        """`spread`: over all control planes; else all begin at the first."""
        self.nodes, self.spread = nodes, spread
        self._read: dict[bytes, sync_pb2.SyncResponse] = {}
        self._generations: dict[bytes, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop = asyncio.get_running_loop()
        self.arrived: dict[int, list[float]] = defaultdict(list)
        self.failures: Counter[str] = Counter()
        self.last_served = 0.0
        self.tickets: dict[int, float] = {}

    def spawn(self, work) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def read(self, data: bytes) -> sync_pb2.SyncResponse:
        """What goes to everybody is parsed once: an agent's machine parses for itself alone."""
        if data not in self._read:
            if len(self._read) > 64:
                self._read.clear()
            self._read[data] = sync_pb2.SyncResponse.FromString(data)
        return self._read[data]

    def generation(self, document: bytes) -> int:
        if document not in self._generations:
            self._generations[document] = _payload(document, d.TYPE_TRUST)["generation"]
        return self._generations[document]

    def digest(self, heartbeat: bytes) -> str:
        return str(_payload(heartbeat, d.TYPE_HEARTBEAT)["trust"]) if heartbeat else ""


def _retry_s(said: dict[str, str]) -> float:
    details = said.get(DETAILS, "")
    return told(base64.b64decode(details + "=" * (-len(details) % 4))) if details else 0.0


def _payload(document: bytes, kind: str) -> dict:
    return json.loads(envelope.parse(document, payloads.MAX_DOCUMENT_BYTES[kind]).payload)


async def main(nodes: Nodes, first: int, count: int, *, spread: bool) -> None:
    crowd = Crowd(nodes, spread=spread)
    agents = [Agent(crowd, number) for number in range(first, first + count)]
    turns = asyncio.Semaphore(OPENING)

    async def open_one(agent: Agent) -> None:
        async with turns:
            await agent.connect()

    await asyncio.gather(*(open_one(agent) for agent in agents))
    while not all(agent.served for agent in agents):
        await asyncio.sleep(0.05)
    say(ready=count)
    while True:
        line = (await crowd.loop.run_in_executor(None, sys.stdin.readline)).split()
        if not line:
            break
        if line[0] == "slow":
            slow = agents[:: int(line[1])]
            for agent in slow:
                agent.slow_down()
            say(slow=len(slow))
        elif line[0] == "report":
            await _report(crowd, int(line[1]), int(line[2]))
        elif line[0] == "forget":
            crowd.tickets = {}
            say()
        elif line[0] == "tickets":
            await _tickets(crowd, count)
        elif line[0] == "state":
            say(served=sum(agent.served for agent in agents), last=crowd.last_served, failures=crowd.failures)
    os._exit(0)  # thousands of connections take longer to close than to use


async def _report(crowd: Crowd, generation: int, wanted: int) -> None:
    """When each of `wanted` agents had this generation; what did not come in time is not counted, and shows."""
    deadline = time.monotonic() + PATIENCE_S
    while len(crowd.arrived[generation]) < wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    say(arrived=crowd.arrived[generation], failures=crowd.failures)


async def _tickets(crowd: Crowd, wanted: int) -> None:
    """When each agent had its first tickets since `forget`."""
    deadline = time.monotonic() + PATIENCE_S
    while len(crowd.tickets) < wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    say(arrived=list(crowd.tickets.values()))


def say(**facts) -> None:
    print(json.dumps(facts), flush=True)


async def _run(fleet: str, domain: str, first: str, count: str, spread: str, *addresses: str) -> None:
    nodes = Nodes(Path(fleet), domain, addresses)
    await main(nodes, int(first), int(count), spread=spread == "spread")


if __name__ == "__main__":
    uvloop.run(_run(*sys.argv[1:]))
