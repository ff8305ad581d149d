"""Five thousand agents on one of two control planes, which is killed: until all are served by the other, and what that costs it.

All of them notice at once, as they do when a machine dies. Meanwhile other nodes renew at the control plane that is left, on
connections that stand already, eighty a second: the worst of them is what a renewal waits behind the crowd.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh

AGENTS, RENEWERS, IN_FLIGHT, PAUSE_MS = 5000, 3000, 4, 50
PATIENCE_S = 180


def run(directory: Path) -> list[Row]:
    crowd.raise_limits(AGENTS + RENEWERS)
    with Mesh(directory, store="etcd", replicas=2) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, AGENTS + RENEWERS)
        mesh.start_control_plane()
        survivor, victim = mesh.replicas
        with crowd.crowd(mesh, nodes, AGENTS, at=1) as agents:
            renewers = _renewers(mesh, nodes)
            try:
                pid = survivor.process.child.pid
                before = crowd.resident_kib(pid)
                renewers.stdin.write("go\n")
                renewers.stdin.flush()
                time.sleep(2.0)
                killed = time.monotonic()
                victim.process.kill()
                served_s = _served(agents) - killed
                with contextlib.suppress(BrokenPipeError):  # all had renewed before: that is said
                    renewers.stdin.write("stop\n")
                    renewers.stdin.flush()
                said = json.loads(renewers.stdout.readline())
            finally:
                renewers.kill()
                renewers.communicate()
            peak = crowd.resident_kib(pid, "VmHWM")
            failures = [answer["failures"] for answer in agents.ask("state")]
    delays = sorted(said["took"])
    print(f"{failures}; {len(delays)} renewals, {said['distinct']} certificates", flush=True)
    memory = f"peak memory {peak / 1024:.0f} MiB, {before / 1024:.0f} before"
    return [
        _row(
            "reconnect_5000_s",
            served_s,
            "s",
            20,
            40,
            AGENTS,
            f"{AGENTS} real connections; {memory}; {crowd.shared()}",
        ),
        _row(
            "reconnect_renewal_ms",
            delays[-1] * 1000,
            "ms",
            1000,
            5000,
            len(delays),
            f"the worst; median {delays[len(delays) // 2] * 1000:.0f} ms; over {said['to'] - killed:.0f} s",
        ),
    ]


def _row(name: str, value: float, unit: str, target: float, floor: float, n: int, spread: str) -> Row:
    return Row(
        name=name,
        value=value,
        unit=unit,
        target=target,
        floor=floor,
        better="lower",
        peer="none",
        n=n,
        spread=spread,
    )


def _renewers(mesh: Mesh, nodes: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.renewers", str(nodes), TRUST_DOMAIN]
    command += [str(AGENTS), str(RENEWERS), str(IN_FLIGHT), str(PAUSE_MS), mesh.replicas[0].api]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if started.stdout.readline().strip() != "ready":
        raise SystemExit("the renewers did not get ready")
    return started


def _served(agents: crowd.Crowd) -> float:
    """When the last agent was served again."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.5)
        answers = agents.ask("state")
        if sum(one["served"] for one in answers) == AGENTS:
            return max(one["last"] for one in answers)
    raise SystemExit(f"not all of {AGENTS} agents were served in {PATIENCE_S} s")
