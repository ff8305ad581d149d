"""Durable certificates per second over gRPC with mTLS: renewals, as agents make them, 64 in flight, one per connection.

Every certificate is stored with full sync before it is signed; the load shares the two cores. Two processes of nodes.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import fleet
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh

NODES, PROCESSES, IN_FLIGHT, ROUNDS = 4000, 2, 64, 3


def run(directory: Path) -> list[Row]:
    rows = []
    for store, target, floor in (("sqlite", 2500, 1700), ("etcd", 1800, 1300)):
        found = [_once(directory / f"{store}-{number}", store) for number in range(ROUNDS)]
        rates = sorted(rate for rate, _ in found)
        tails = sorted(p99 for _, p99 in found)
        rows.append(
            Row(
                name=f"issuance_{store}_per_s",
                value=rates[ROUNDS // 2],
                unit="1/s",
                target=target,
                floor=floor,
                better="higher",
                peer="none",
                n=NODES * ROUNDS,
                spread=f"{rates[0]:.0f} to {rates[-1]:.0f} of {ROUNDS} runs; p99 {tails[ROUNDS // 2] * 1000:.0f} ms",
            )
        )
    return rows


def _once(directory: Path, store: str) -> tuple[float, float]:
    """(certificates per second, 99th percentile in seconds)."""
    directory.mkdir(parents=True)
    with Mesh(directory, store=store) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, NODES)
        mesh.start_control_plane()
        fleet.believe(mesh, nodes)
        each = NODES // PROCESSES
        load = [
            subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "benchmarks.renewers",
                        str(nodes),
                        TRUST_DOMAIN,
                    ),
                    *(str(number * each), str(each), str(IN_FLIGHT // PROCESSES), "0"),
                    *(one.api for one in mesh.replicas),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        try:
            for one in load:
                if one.stdout.readline().strip() != "ready":
                    raise SystemExit("the load did not get ready")
            for one in load:
                one.stdin.write("go\n")
                one.stdin.flush()
            said = [json.loads(one.stdout.readline()) for one in load]
        finally:
            for one in load:
                one.kill()
                one.communicate()
        if sum(one["distinct"] for one in said) != NODES:
            raise SystemExit("not every node was given a certificate of its own")
        elapsed = max(one["to"] for one in said) - min(one["from"] for one in said)
        took = sorted(second for one in said for second in one["took"])
        return NODES / elapsed, took[int(len(took) * 0.99) - 1]
