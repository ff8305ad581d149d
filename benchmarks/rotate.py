"""Certificates rotated under load: twenty rotations of both ends, half of the requests on new connections, a stream across
each, no retries. Not one request may fail. The load is answered by a backend that costs nothing, the streams by the demo's
language model.
"""

import asyncio
import threading
import time
from pathlib import Path

from benchmarks import load, steady
from benchmarks.mesh import CALLEE, CALLER, backend, serve, two_nodes
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh

ROTATIONS, EVERY_S = 20, 0.5
TREATMENT = {"purpose": "treatment", "data-class": "1"}
HEADERS = {"writ-purpose": "treatment", "writ-data-class": "1"}
BODY = b'{"model":"echo","input":"list"}'


def run(directory: Path) -> list[Row]:
    with backend(directory) as echo, two_nodes(directory, None) as mesh:
        serve(mesh, "echo", echo)
        port = mesh.nodes[CALLER].known_ports["egress"]
        outcome: list[load.Result] = []
        stop = threading.Event()
        asked = [f"{CALLEE}.mesh"]
        loader = threading.Thread(
            target=lambda: outcome.append(asyncio.run(steady.ask(port, asked, BODY, stop, **HEADERS)))
        )
        loader.start()
        streams = _rotate(mesh)
        stop.set()
        loader.join()
    total, bad = outcome[0], steady.bad(outcome[0])
    failed = bad + streams
    print(
        f"    {total.requests} requests at {total.rate:.0f}/s, {bad} failed; {ROTATIONS} rotations of both ends, {streams} streams broken"
    )
    spread = f"{total.requests} requests at {total.rate:.0f}/s"
    row = Row(
        name="rotate_failed",
        value=failed,
        unit="",
        target=0,
        floor=0,
        better="lower",
        peer="none",
        n=total.requests,
        spread=spread,
    )
    return [row]


def _rotate(mesh: Mesh) -> int:
    """Renew both nodes again and again, with a stream across each; how many streams broke."""
    broken = 0
    for _ in range(ROTATIONS):
        next_at = time.monotonic() + EVERY_S
        stream = calls.start_stream(mesh.nodes[CALLER], CALLEE, TREATMENT, pause_s=0.02)
        before = {name: mesh.find(name).serial for name in (CALLER, CALLEE)}
        for name in before:
            node, _, site = name.partition(".")
            mesh.call("RenewNode", admin_pb2.GetNodeRequest(node=node, site=site))
        while any(mesh.find(name).serial == serial for name, serial in before.items()):
            time.sleep(0.01)
        words = stream.words
        stream.flowing.clear()
        stream.flowing.wait(5)
        broken += stream.ended.is_set() or stream.words == words
        stream.close()
        time.sleep(max(0.0, next_at - time.monotonic()))
    return broken
