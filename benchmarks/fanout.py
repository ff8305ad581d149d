"""A new trust document to thousands of agents: from sending the operator's call to its arrival at each, over real mTLS streams.

Each round revokes another node, so that each document is new; it is committed with full sync, signed, and written to all streams
while the agents answer with receipts and send their health. Agents share the two cores with the control plane. Memory: of the
control plane's process with all agents connected, less the same process before the first came.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import Mesh

ROUNDS = 10
SETTLE_S, REST_S = 3.0, 20.0  # two heartbeats of rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured once."""

    agents: int
    replicas: int = 1
    slow_every: int = 0

    def __str__(self) -> str:
        slow = f", one in {self.slow_every} takes nothing" if self.slow_every else ""
        return f"{self.agents} agents, {self.replicas} replica{'s' * (self.replicas > 1)}{slow}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Milliseconds of every agent and round, sorted; and what the control planes' processes held."""

    ms: list[float]
    last_ms: list[float]
    connected_kib: float
    all_kib: float
    cpu_us: float


CASES = [(1000, 250, 500), (5000, 600, 1200), (10_000, 1000, 2000)]  # agents, aim, floor


def run(directory: Path) -> list[Row]:
    return [row for case in CASES for row in of_size(directory, *case)]


def of_size(directory: Path, agents: int, target: int, floor: int) -> list[Row]:
    """One size, three ways; memory is of the largest."""
    plain = _measure(directory, Case(agents=agents))
    slow = _measure(directory, Case(agents=agents, slow_every=10))
    two = _measure(directory, Case(agents=agents, replicas=2))
    beside = f"one slow in ten {_p(slow, 0.99):.0f}; two replicas on etcd {_p(two, 0.99):.0f}"
    push = Row(
        name=f"fanout_{agents}_p99_ms",
        value=_p(plain, 0.99),
        unit="ms",
        target=target,
        floor=floor,
        better="lower",
        peer="none",
        n=len(plain.ms),
        spread=f"p50 {_p(plain, 0.5):.0f}, last {max(plain.last_ms):.0f}; {beside}; "
        f"{agents} real connections; {plain.cpu_us:.0f} us of CPU per agent; {crowd.shared()}",
    )
    memory = Row(
        name="fanout_memory_per_agent_kib",
        value=plain.connected_kib,
        unit="KiB",
        target=100,
        floor=140,
        better="lower",
        peer="none",
        n=agents,
        spread=f"{plain.all_kib:.0f} with the rows, rules and tickets of a node that is away",
    )
    return [push, memory] if agents == CASES[-1][0] else [push]


def _measure(directory: Path, case: Case) -> Found:
    where = directory / str(case).replace(" ", "-").replace(",", "")
    where.mkdir()
    crowd.raise_limits(case.agents)
    with Mesh(where, store="etcd" if case.replicas > 1 else "sqlite", replicas=case.replicas) as mesh:
        mesh.init()
        mesh.start_control_plane()
        empty = crowd.resident_kib(mesh.control_plane.child.pid)
        mesh.control_plane.kill()
        nodes = fleet.seed(mesh, case.agents + ROUNDS)
        mesh.start_control_plane()
        time.sleep(SETTLE_S)
        pids = [one.process.child.pid for one in mesh.replicas]
        before = [crowd.resident_kib(pid) for pid in pids]
        started = time.monotonic()
        with crowd.crowd(mesh, nodes, case.agents, slow_every=case.slow_every) as agents:
            opened_s = time.monotonic() - started
            time.sleep(SETTLE_S)
            resting = sum(map(crowd.cpu_s, pids))
            time.sleep(REST_S)
            resting = (sum(map(crowd.cpu_s, pids)) - resting) / REST_S
            after = [crowd.resident_kib(pid) for pid in pids]
            spared = (
                [answer["slow"] for answer in agents.ask("slow")]
                if case.slow_every
                else [0] * crowd.PROCESSES
            )
            cpu = sum(map(crowd.cpu_s, pids))
            rounds = [_round(mesh, agents, case, number, spared) for number in range(ROUNDS)]
            cpu = sum(map(crowd.cpu_s, pids)) - cpu
            lost = sum(sum(answer["failures"].values()) for answer in agents.ask("state"))
            if lost:
                raise SystemExit(f"{lost} connections were lost: they do not count as what is measured")
    found = Found(
        ms=sorted(ms for one in rounds for ms in one),
        last_ms=[one[-1] for one in rounds],
        connected_kib=(sum(after) - sum(before)) / case.agents,
        all_kib=(after[0] - empty) * len(pids) / case.agents,
        cpu_us=cpu / len(rounds) / case.agents * 1e6,
    )
    print(
        f"{case}: p50 {_p(found, 0.5):.0f} ms, p99 {_p(found, 0.99):.0f}, last {max(found.last_ms):.0f}; "
        f"by round {' '.join(f'{ms:.0f}' for ms in found.last_ms)}; {len(found.ms)} arrivals of {ROUNDS} documents; "
        f"{found.connected_kib:.0f} KiB each; {found.cpu_us:.0f} us of CPU each; at rest {resting * 100:.0f} % of a core; opened in {opened_s:.1f} s, none lost",
        flush=True,
    )
    return found


def _round(mesh: Mesh, agents: crowd.Crowd, case: Case, number: int, spared: list[int]) -> list[float]:
    started = time.monotonic()
    done = mesh.revoke(f"n{case.agents + number}.{fleet.SITE}")
    arrived = agents.arrivals(done.generation, spared)
    if len(arrived) != case.agents - sum(spared):
        raise SystemExit(f"{len(arrived)} of {case.agents} agents were told")
    time.sleep(1.0)
    return [(at - started) * 1000 for at in arrived]


def _p(found: Found, share: float) -> float:
    return found.ms[int(len(found.ms) * share) - 1]
