"""From sending the operator's call to the first denial on an open connection, and to the end of an open stream.

One machine, the whole path: API, SQLite with full sync, signature, push, verification, Envoy. Probes every millisecond.
"""

import statistics
import threading
import time
from pathlib import Path

from benchmarks.mesh import CALLEE, CALLER, two_nodes
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh

ROUNDS = 200
TREATMENT = {"purpose": "treatment", "data-class": "1"}


def run(directory: Path) -> list[Row]:
    with two_nodes(directory, None) as mesh:
        found = [_once(mesh) for _ in range(ROUNDS)]
    denied, cut = ([one[i] for one in found] for i in (0, 1))
    rows = []
    for name, values, target, floor in (
        ("revoke_denied_p99_ms", denied, 50, 150),
        ("revoke_cut_p99_ms", cut, 250, 600),
    ):
        ordered = sorted(values)
        rows.append(
            Row(
                name=name,
                value=ordered[int(len(ordered) * 0.99) - 1],
                unit="ms",
                target=target,
                floor=floor,
                better="lower",
                peer="none",
                n=len(values),
                spread=f"median {statistics.median(values):.1f}, max {ordered[-1]:.1f}",
            )
        )
    return rows


def _once(mesh: Mesh) -> tuple[float, float]:
    """(milliseconds to denial, milliseconds to the end of the stream) of one revocation; then the node comes back."""
    caller = mesh.nodes[CALLER]
    stream = calls.start_stream(caller, CALLEE, TREATMENT, pause_s=0.001)
    idle = calls.Idle(caller, CALLEE, TREATMENT)
    if idle.ask().code or not stream.words:
        raise SystemExit("the node was not allowed before it was revoked")
    denied_at: list[float] = []
    stop = threading.Event()
    probe = threading.Thread(target=_probe, args=(idle, denied_at, stop))
    probe.start()
    time.sleep(0.02)
    started = time.perf_counter()
    mesh.revoke(CALLER)
    stream.ended.wait(10)
    probe.join(10)
    stop.set()
    idle.close()
    mesh.call("UnrevokeNode", admin_pb2.GetNodeRequest(node="app-1", site="paris"))
    mesh.token(CALLER)
    caller.agent.kill()
    caller.agent.start()
    caller.agent.ports()
    mesh.wait_enforced()
    return (denied_at[0] - started) * 1000, (stream.ended_at - started) * 1000


def _probe(idle: calls.Idle, denied_at: list[float], stop: threading.Event) -> None:
    while not stop.is_set():
        outcome = idle.ask()
        if outcome.code and outcome.code != calls.CUT:
            denied_at.append(time.perf_counter())
            return
        time.sleep(0.001)
