"""How cost grows with the mesh: the same three acts at 100, 1,000 and 10,000 nodes, and the exponent that fits (1: as many nodes).

Push: a trust document to all agents, to the last. Policy: `writ policy apply --now`, until the last agent has its ticket. Status:
what `writ status` asks, with all agents connected. All agents are connected, by real mTLS streams, on the same two cores.
"""

import math
import statistics
import time
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.mesh import POLICY
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2, overview_pb2
from controlplane.cli.demo.mesh import Mesh

SIZES, ROUNDS = (100, 1000, 10_000), 5
ACTS = ("push", "policy", "status")


def run(directory: Path) -> list[Row]:
    crowd.raise_limits(max(SIZES))
    found = {size: _measure(directory / str(size), size) for size in SIZES}
    rows = []
    for act in ACTS:
        seconds = {size: statistics.median(found[size][act]) for size in SIZES}
        each = ", ".join(f"{size}: {one * 1e6 / size:.0f} us" for size, one in seconds.items())
        rows.append(
            Row(
                name=f"growth_{act}_exponent",
                value=_exponent(seconds),
                unit="",
                target=1.0,
                floor=1.2,
                better="lower",
                peer="none",
                n=ROUNDS * len(SIZES),
                spread=f"per node at {each}",
            )
        )
    return rows


def _exponent(seconds: dict[int, float]) -> float:
    """Least squares on logarithms."""
    xs, ys = [math.log(size) for size in seconds], [math.log(one) for one in seconds.values()]
    return statistics.linear_regression(xs, ys).slope


def _measure(directory: Path, size: int) -> dict[str, list[float]]:
    directory.mkdir()
    took: dict[str, list[float]] = {act: [] for act in ACTS}
    with Mesh(directory) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, size + ROUNDS)
        mesh.start_control_plane()
        mesh.resources(
            admin_pb2.Resource(kind="Model", name="ngram", node="n0", site=fleet.SITE, max_class=4, port=1),
            groups=[("ModelGroup", "clinical")],
        )
        with crowd.crowd(mesh, nodes, size) as agents:
            time.sleep(3.0)
            for number in range(ROUNDS):
                took["push"].append(_push(mesh, agents, size + number))
                took["policy"].append(_policy(mesh, agents, number, size))
                took["status"].append(_status(mesh, size))
                time.sleep(1.0)
    print(size, {act: [round(one, 4) for one in seconds] for act, seconds in took.items()}, flush=True)
    return took


def _push(mesh: Mesh, agents: crowd.Crowd, victim: int) -> float:
    started = time.monotonic()
    done = mesh.revoke(f"n{victim}.{fleet.SITE}")
    return agents.arrivals(done.generation, [0] * crowd.PROCESSES)[-1] - started


def _policy(mesh: Mesh, agents: crowd.Crowd, number: int, size: int) -> float:
    """A policy that is another one each time, and that every node must be told."""
    agents.ask("forget")
    started = time.monotonic()
    mesh.policy(POLICY.replace("data_class <= 3", f"data_class <= {number % 4}"))
    answers = agents.ask("tickets")
    arrived = sorted(at for answer in answers for at in answer["arrived"])
    if len(arrived) != size:
        raise SystemExit(f"{len(arrived)} of {size} agents were told of a policy")
    return arrived[-1] - started


def _status(mesh: Mesh, size: int) -> float:
    started = time.monotonic()
    seen = mesh.client.call(mesh.client.overview.GetOverview, overview_pb2.GetOverviewRequest())
    if seen.connected != size:
        raise SystemExit(f"{seen.connected} of {size} agents are connected")
    return time.monotonic() - started
