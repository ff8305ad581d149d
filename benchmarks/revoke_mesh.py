"""`writ node revoke --wait` in a mesh of a thousand connected agents: from the operator's call to the last signed receipt.

The command says of each agent after how long: by the control plane's clock, from when the call came. Agents answer with a signed
receipt 40 ms after they were told, as an agent with its Envoy does; their signatures are verified by the control plane.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit

AGENTS, ROUNDS = 1000, 10


def run(directory: Path) -> list[Row]:
    crowd.raise_limits(AGENTS)
    with Mesh(directory) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, AGENTS + ROUNDS)
        mesh.start_control_plane()
        with crowd.crowd(mesh, nodes, AGENTS):
            took = sorted(_once(mesh, f"n{AGENTS + number}.{fleet.SITE}") for number in range(ROUNDS))
    return [
        Row(
            name="revoke_mesh_1000_ms",
            value=took[ROUNDS // 2],
            unit="ms",
            target=500,
            floor=1000,
            better="lower",
            peer="none",
            n=ROUNDS,
            spread=f"{took[0]:.0f} to {took[-1]:.0f}; {AGENTS} real connections, {AGENTS} receipts verified each time; "
            f"{crowd.shared()}",
        )
    ]


def _once(mesh: Mesh, node: str) -> float:
    writ = str(Path(sys.executable).with_name("writ"))
    environment = {**os.environ, "WRIT_CONFIG": str(mesh.context_file)}
    done = subprocess.run(
        [writ, "--yes", "-o", "json", "--timeout", "60", "node", "revoke", node, "--wait"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode not in {Exit.OK, Exit.FAILED}:  # failed: nodes that are away have not confirmed it
        raise SystemExit(done.stderr)
    said = json.loads(done.stdout)
    enforced = sum(one["enforced"] for one in said["agents"])
    if enforced != AGENTS:
        raise SystemExit(f"{enforced} of {AGENTS} agents enforce it")
    time.sleep(0.5)
    return float(max(one["after_ms"] for one in said["agents"] if one["enforced"]))
