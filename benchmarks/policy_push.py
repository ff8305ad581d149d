"""From sending `apply` until all of three agents have acknowledged the new policy, and until it holds on an open connection.

One machine, the whole path: API, parsing and compiling, SQLite with full sync, signatures, push, verification, Envoy. The policy
is replaced to and fro: one permits what is asked for, the next does not. Acknowledgements are what the control plane says
of its agents, asked for every two milliseconds; requests go every millisecond on one connection.
"""

import statistics
import threading
import time
from pathlib import Path

from benchmarks.mesh import CALLEE, CALLER, CLINICAL, POLICY, two_nodes
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh

ROUNDS, THIRD, PATIENCE_S = 200, "app-2.paris", 10
TREATMENT = {"purpose": "treatment", "data-class": "1"}
LIST = 'action == Action::"discover", resource)'
OTHER = POLICY.replace(LIST, LIST + ' when { context.purpose == "research" }')


def run(directory: Path) -> list[Row]:
    with two_nodes(directory, None) as mesh:
        third = mesh.prepare(THIRD, CLINICAL, serve=False)
        third.agent.start()
        third.agent.ports()
        mesh.wait_enforced()
        idle = calls.Idle(mesh.nodes[CALLER], CALLEE, TREATMENT)
        found = [_once(mesh, idle, allowed=bool(number % 2)) for number in range(ROUNDS)]
        idle.close()
    acknowledged, effective = ([one[i] for one in found] for i in (0, 1))
    return [_row("policy_push_ack_p99_ms", acknowledged), _row("policy_push_effective_p99_ms", effective)]


def _once(mesh: Mesh, idle: calls.Idle, *, allowed: bool) -> tuple[float, float]:
    """Milliseconds to the last acknowledgement, and to the first answer by the new policy."""
    if _asked(idle) is allowed:
        raise SystemExit("the policy before is not in force")
    turned: list[float] = []
    probe = threading.Thread(target=_probe, args=(idle, allowed, turned))
    probe.start()
    time.sleep(0.02)
    started = time.perf_counter()
    version = mesh.policy(POLICY if allowed else OTHER, now=False).version
    acknowledged = _acknowledged(mesh, version)
    probe.join(PATIENCE_S)
    if not turned:
        raise SystemExit("the policy did not become effective")
    return (acknowledged - started) * 1000, (turned[0] - started) * 1000


def _acknowledged(mesh: Mesh, version: int) -> float:
    deadline = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < deadline:
        status = mesh.call("GetStatus", admin_pb2.GetStatusRequest())
        if len(status.nodes) == len(mesh.nodes) and all(n.policy_version == version for n in status.nodes):
            return time.perf_counter()
        time.sleep(0.002)
    raise SystemExit("not every agent acknowledged")


def _asked(idle: calls.Idle) -> bool:
    code = idle.ask().code
    if code == calls.CUT:
        raise SystemExit("the connection did not stay open")
    return not code


def _probe(idle: calls.Idle, allowed: bool, turned: list[float]) -> None:
    deadline = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < deadline:
        if _asked(idle) is allowed:
            turned.append(time.perf_counter())
            return
        time.sleep(0.001)


def _row(name: str, values: list[float]) -> Row:
    ordered = sorted(values)
    return Row(
        name=name,
        value=ordered[int(len(ordered) * 0.99) - 1],
        unit="ms",
        target=250,
        floor=600,
        better="lower",
        peer="none",
        n=len(values),
        spread=f"median {statistics.median(values):.1f}, max {ordered[-1]:.1f}",
    )
