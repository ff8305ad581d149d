"""Certificates rotated under load: twenty rotations of both ends, in the middle of them the CA that signs them, half of the
requests on new connections, a stream across each, no retries. Not one request may fail. The load is answered by a backend that costs nothing, the streams by the demo's
language model.
"""

import asyncio
import contextlib
import itertools
import threading
import time
from pathlib import Path

from benchmarks import load
from benchmarks.mesh import CALLEE, CALLER, backend, serve, two_nodes
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError

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
        loader = threading.Thread(target=lambda: outcome.append(asyncio.run(_load(port, stop))))
        loader.start()
        streams = _rotate(mesh)
        stop.set()
        loader.join()
    total, bad = (
        outcome[0],
        sum(n for status, n in outcome[0].statuses.items() if status != 200) + outcome[0].broken,
    )
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
    for number in range(ROTATIONS):
        if number == ROTATIONS // 2:
            _replace_ca(mesh)
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


def _replace_ca(mesh: Mesh) -> None:
    """The next node CA, as soon as both agents know it."""
    made = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest(kind="node"))
    while True:
        with contextlib.suppress(CliError):
            mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=made.key_id))
            return
        time.sleep(0.01)


async def _load(port: int, stop: threading.Event) -> load.Result:
    """Half on kept connections, half on a new one each, at most about a thousand a second."""
    result = load.Result()
    started = time.perf_counter()
    kept = load.request(f"{CALLEE}.mesh", "/v1/embeddings", BODY, **HEADERS)
    once = load.request(f"{CALLEE}.mesh", "/v1/embeddings", BODY, connection="close", **HEADERS)
    turns = itertools.count()

    async def worker(number: int) -> None:
        open_: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not stop.is_set():
            fresh = (next(turns) + number) % 2 == 0
            try:
                if fresh:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                else:
                    open_ = open_ or await asyncio.open_connection("127.0.0.1", port)
                    reader, writer = open_
                writer.write(once if fresh else kept)
                status = await load.response(reader)
                if fresh:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError, ValueError):
                result.broken += 1
                open_ = None
                continue
            result.statuses[status] = result.statuses.get(status, 0) + 1

    await asyncio.gather(*(worker(number) for number in range(8)))
    result.seconds = time.perf_counter() - started
    return result
