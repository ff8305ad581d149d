"""How cost grows with the mesh: the same three acts at 100, 1,000 and 10,000 nodes, and the exponent that fits (1: as many nodes).

Push: a trust document to all agents, to the last. Policy: `writ policy apply --now`, until the last agent has its ticket. Status:
what `writ status` asks, with all agents connected. All agents are connected, by real mTLS streams, on the same two cores. Fitted
is what the control plane's process spent, which other work on the machine hardly changes; seconds on the wall are said beside it.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.mesh import POLICY
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2, overview_pb2
from controlplane.cli.demo.mesh import Mesh

SIZES, ROUNDS = (100, 1000, 10_000), 3
TAIL_S = 1.5  # until the last answer to a push is read
STATUS_TIMES = 5  # one is too short to be seen in the process's clock


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one act, in seconds: until it was done, and of the control plane's CPU."""

    wall_s: float
    cpu_s: float


Costs = Mapping[str, Cost]  # by act


def run(directory: Path) -> list[Row]:
    crowd.raise_limits(max(SIZES))
    found = {size: _measure(directory / str(size), size) for size in SIZES}
    return [_row(act, {size: found[size][act] for size in SIZES}) for act in found[SIZES[0]]]


def _row(act: str, costs: Mapping[int, Cost]) -> Row:
    each = ", ".join(
        f"{size}: {one.cpu_s * 1e6 / size:.0f} us of CPU a node, {one.wall_s * 1000:.0f} ms"
        for size, one in costs.items()
    )
    return Row(
        name=f"growth_{act}_exponent",
        value=_exponent({size: one.cpu_s for size, one in costs.items()}),
        unit="",
        target=1.0,
        floor=1.2,
        better="lower",
        peer="none",
        n=ROUNDS * len(costs),
        spread=f"{each}; on the wall {_exponent({size: one.wall_s for size, one in costs.items()}):.2f}; {crowd.shared()}",
    )


def _exponent(seconds: Mapping[int, float]) -> float:
    """Least squares on logarithms."""
    xs, ys = [math.log(size) for size in seconds], [math.log(one) for one in seconds.values()]
    return statistics.linear_regression(xs, ys).slope


def _measure(directory: Path, size: int) -> Costs:
    directory.mkdir()
    with Mesh(directory) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, size + ROUNDS)
        mesh.start_control_plane()
        mesh.resources(
            admin_pb2.Resource(kind="Model", name="ngram", node="n0", site=fleet.SITE, max_class=4, port=1),
            groups=[("ModelGroup", "clinical")],
        )
        with crowd.crowd(mesh, nodes, size) as agents:
            acts: dict[str, Callable[[int], float]] = {
                "push": lambda number: _push(mesh, agents, size + number),
                "policy": lambda number: _policy(mesh, agents, number, size),
                "status": lambda _: _status(mesh, size),
            }
            time.sleep(TAIL_S)
            rest = _rest(mesh)
            found = {act: _cost(mesh, do, rest) for act, do in acts.items()}
    print(size, found, f"load {os.getloadavg()[0]:.0f}", flush=True)
    return found


def _rest(mesh: Mesh) -> float:
    """What the process spends in a second in which nothing happens, over one heartbeat."""
    before = _cpu(mesh)
    time.sleep(10.0)
    return (_cpu(mesh) - before) / 10.0


def _cost(mesh: Mesh, act: Callable[[int], float], rest: float) -> Cost:
    """The median; what the agents cost anyway does not count."""
    costs = []
    for number in range(ROUNDS):
        began, cpu = time.monotonic(), _cpu(mesh)
        wall_s = act(number)
        time.sleep(TAIL_S)
        took_s = time.monotonic() - began
        costs.append(Cost(wall_s, max(_cpu(mesh) - cpu - rest * took_s, 0.0)))
    return Cost(
        statistics.median(c.wall_s for c in costs), max(statistics.median(c.cpu_s for c in costs), 1e-3)
    )


def _cpu(mesh: Mesh) -> float:
    return crowd.cpu_s(mesh.control_plane.child.pid)


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
    for _ in range(STATUS_TIMES):
        seen = mesh.client.call(mesh.client.overview.GetOverview, overview_pb2.GetOverviewRequest())
    if seen.connected != size:
        raise SystemExit(f"{seen.connected} of {size} agents are connected")
    return (time.monotonic() - started) / STATUS_TIMES
