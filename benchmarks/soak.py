"""A day in ten minutes: three nodes, the shortest certificates there are, requests throughout. Not one may fail.

A lease has at least 30 s and at most 0.4 of a certificate's life: 75 s is the shortest. Half of it counts from a beginning that is
backdated by a minute, so that each node renews every seven or eight seconds, eighty times in ten minutes, where a day has
forty-eight. Connections are new and kept, and a stream is open across each minute.
"""

import asyncio
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load, steady
from benchmarks.mesh import CALLEE, CALLER, CLINICAL, backend, serve, two_nodes
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh

SECONDS = float(os.environ.get("WRIT_SOAK_S", "600"))
SVID_S, LEASE_S, HEARTBEAT_S = 75, 30, 1.0
THIRD = "gpu-2.boston"
STREAM_S, PAUSE_S, LOOK_S = 60.0, 0.02, 1.0
CLAIMS = {"purpose": "treatment", "data-class": "1"}
HEADERS = {f"writ-{name}": value for name, value in CLAIMS.items()}
BODY = b'{"model":"echo","input":"list"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the requests, and how many certificates each node had."""

    requests: load.Result
    streams: int
    broken_streams: int
    certificates: dict[str, int]

    @property
    def failed(self) -> int:
        return steady.bad(self.requests) + self.broken_streams


def run(directory: Path) -> list[Row]:
    found = soak(directory, SECONDS)
    rotations = sum(found.certificates.values())
    return [
        Row(
            name="soak_failed",
            value=found.failed,
            unit="",
            target=0,
            floor=0,
            better="lower",
            peer="none",
            n=found.requests.requests,
            spread=f"{SECONDS:.0f} s at {found.requests.rate:.0f}/s, {rotations} certificates of 3 nodes, {found.streams} streams",
        )
    ]


def soak(directory: Path, seconds: float) -> Outcome:
    timing = {"svid_s": SVID_S, "lease_s": LEASE_S, "heartbeat_s": HEARTBEAT_S}
    with backend(directory) as echo, two_nodes(directory, None, **timing) as mesh:
        serve(mesh, "echo", echo)
        _third(mesh, echo)
        port, stop = mesh.nodes[CALLER].known_ports["egress"], threading.Event()
        outcome: list[load.Result] = []
        hosts = [f"{name}.mesh" for name in (CALLEE, THIRD)]
        asking = threading.Thread(
            target=lambda: outcome.append(asyncio.run(steady.ask(port, hosts, BODY, stop, **HEADERS)))
        )
        asking.start()
        try:
            certificates, streams, broken = _watch(mesh, seconds)
        finally:
            stop.set()
            asking.join()
    return Outcome(requests=outcome[0], streams=streams, broken_streams=broken, certificates=certificates)


def _third(mesh: Mesh, port: int) -> None:
    mesh.site("boston", "US")
    node = mesh.prepare(THIRD, CLINICAL, serve=False)
    mesh.resources(
        admin_pb2.Resource(
            kind="Model",
            name="echo",
            node="gpu-2",
            site="boston",
            groups=["clinical"],
            max_class=4,
            port=port,
        ),
        admin_pb2.Resource(kind="Service", name="openai", node="gpu-2", site="boston", port=port),
    )
    node.agent.start()
    node.agent.ports()
    mesh.wait_enforced()


def _watch(mesh: Mesh, seconds: float) -> tuple[dict[str, int], int, int]:
    """Certificates of each node, streams, and how many of these broke. One stream at a time, a minute long."""
    serials: dict[str, set[str]] = {name: set() for name in mesh.nodes}
    end, streams, broken = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        stream, until = (
            calls.start_stream(mesh.nodes[CALLER], CALLEE, CLAIMS, pause_s=PAUSE_S),
            time.monotonic() + STREAM_S,
        )
        streams += 1
        while time.monotonic() < min(until, end):
            for name, seen in serials.items():
                seen.add(mesh.find(name).serial)
            time.sleep(LOOK_S)
        words = stream.words
        stream.flowing.clear()
        stream.flowing.wait(5)
        broken += stream.ended.is_set() or stream.words == words
        stream.close()
    return {name: len(seen) for name, seen in serials.items()}, streams, broken
