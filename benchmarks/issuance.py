"""Durable certificates per second over gRPC with mTLS: renewals, as agents make them, 64 in flight, one per connection.

Every certificate is stored with full sync before it is signed; the load shares the two cores. Two processes of nodes, that speak
plain HTTP/2 (`http2`). Each node's certificate has been verified once when it connected, as it is when an agent opens its stream.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh

NODES, PROCESSES, IN_FLIGHT, ROUNDS = 2000, 2, 64, 3
CASES = (
    ("issuance_sqlite_per_s", "sqlite", 1, 2500, 1700),
    ("issuance_etcd_per_s", "etcd", 1, 1800, 1300),
    ("issuance_etcd_2_replicas_per_s", "etcd", 2, 1800, 1300),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Certificates per second, 99th percentile in seconds, and CPU microseconds of the control planes per certificate."""

    rate: float
    p99_s: float
    cpu_us: float


def run(directory: Path) -> list[Row]:
    rows = []
    for name, store, replicas, target, floor in CASES:
        found = [_once(directory / f"{name}-{number}", store, replicas) for number in range(ROUNDS)]
        rates = sorted(one.rate for one in found)
        tails, cpu = (sorted(getattr(one, of) for one in found)[ROUNDS // 2] for of in ("p99_s", "cpu_us"))
        rows.append(
            Row(
                name=name,
                value=rates[ROUNDS // 2],
                unit="1/s",
                target=target,
                floor=floor,
                better="higher",
                peer="none",
                n=NODES * ROUNDS,
                spread=f"{rates[0]:.0f} to {rates[-1]:.0f} of {ROUNDS} runs; p99 {tails * 1000:.0f} ms; "
                f"{cpu:.0f} us of CPU each; {crowd.shared()}",
            )
        )
    return rows


def _once(directory: Path, store: str, replicas: int = 1) -> Found:
    directory.mkdir(parents=True)
    with Mesh(directory, store=store, replicas=replicas) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, NODES)
        mesh.start_control_plane()
        fleet.believe(mesh, nodes)
        pids = [one.process.child.pid for one in mesh.replicas]
        load = [_load(mesh, nodes, number) for number in range(PROCESSES)]
        try:
            for one in load:
                if one.stdout.readline().strip() != "ready":
                    raise SystemExit("the load did not get ready")
            before = sum(map(crowd.cpu_s, pids))
            for one in load:
                one.stdin.write("go\n")
                one.stdin.flush()
            said = [json.loads(one.stdout.readline()) for one in load]
            used = sum(map(crowd.cpu_s, pids)) - before
        finally:
            for one in load:
                one.kill()
                one.communicate()
        if sum(one["distinct"] for one in said) != NODES:
            raise SystemExit("not every node was given a certificate of its own")
        elapsed = max(one["to"] for one in said) - min(one["from"] for one in said)
        took = sorted(second for one in said for second in one["took"])
        return Found(NODES / elapsed, took[int(len(took) * 0.99) - 1], used / NODES * 1e6)


def _load(mesh: Mesh, nodes: Path, number: int) -> subprocess.Popen[str]:
    each = NODES // PROCESSES
    command = [sys.executable, "-m", "benchmarks.renewers", str(nodes), TRUST_DOMAIN]
    command += [str(number * each), str(each), str(IN_FLIGHT // PROCESSES), "0"]
    command += [one.api for one in mesh.replicas]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
