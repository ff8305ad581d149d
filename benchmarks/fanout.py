"""A new trust document to thousands of agents: from sending the operator's call to its arrival at each, over real mTLS streams.

Each round revokes another node, so that each document is new; it is committed with full sync, signed, and written to all streams
while the agents answer with receipts and send their health. Agents share the two cores with the control plane. Memory: of the
control plane's process with all agents connected, less the same process before the first came.

One crowd is measured as it is, then with one agent in ten that takes nothing; another one with two replicas. An agent that loses its
connection comes back, as agents do: how many did is said, and more than one in a hundred ends the run.
"""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import crowd, fleet
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import Mesh

ROUNDS, SLOW_EVERY = 10, 10
SETTLE_S, REST_S, PAUSE_S = 3.0, 20.0, 1.0  # rest: two heartbeats
LOST_SHARE = 0.01
SIZES = {1000: (250, 500), 5000: (600, 1200), 10_000: (1000, 2000)}  # agents: aim, floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushes:
    """Milliseconds of every agent and round, sorted; the last of each round; and what a push cost the control planes."""

    ms: list[float]
    last_ms: list[float]
    cpu_us: float

    def p(self, share: float) -> float:
        return self.ms[math.ceil(len(self.ms) * share) - 1]

    def __str__(self) -> str:
        rounds = " ".join(f"{ms:.0f}" for ms in self.last_ms)
        return (
            f"p50 {self.p(0.5):.0f} ms, p99 {self.p(0.99):.0f}, last {max(self.last_ms):.0f} (by round {rounds}); "
            f"{len(self.ms)} arrivals of {len(self.last_ms)} documents; {self.cpu_us:.0f} us of CPU each"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a connected agent costs when nothing happens: memory, and CPU of all replicas. `all_kib`: with the rows of its node."""

    kib: float
    all_kib: float
    rest_us_per_s: float
    opened_s: float
    opening_ms: float

    def __str__(self) -> str:
        return (
            f"{self.kib:.0f} KiB each; at rest {self.rest_us_per_s:.0f} us of CPU a second each; "
            f"opened in {self.opened_s:.0f} s, {self.opening_ms:.1f} ms of CPU each"
        )


def run_1000(directory: Path) -> list[Row]:
    return of_size(directory, 1000)


def run_5000(directory: Path) -> list[Row]:
    return of_size(directory, 5000)


def run_10000(directory: Path) -> list[Row]:
    held, pushed = _one_replica(directory / "one", 10_000)
    two = _two_replicas(directory / "two", 10_000)
    memory = Row(
        name="fanout_memory_per_agent_kib",
        value=held.kib,
        unit="KiB",
        target=100,
        floor=140,
        better="lower",
        peer="none",
        n=10_000,
        spread=f"{held.all_kib:.0f} with the rows, rules and tickets of a node that is away; {held}",
    )
    return [_push(10_000, pushed, two), memory]


def of_size(directory: Path, agents: int) -> list[Row]:
    _, pushed = _one_replica(directory / "one", agents)
    return [_push(agents, pushed, _two_replicas(directory / "two", agents))]


def _push(agents: int, pushed: Sequence[Pushes], two: Pushes) -> Row:
    plain, slow = pushed
    target, floor = SIZES[agents]
    return Row(
        name=f"fanout_{agents}_p99_ms",
        value=plain.p(0.99),
        unit="ms",
        target=target,
        floor=floor,
        better="lower",
        peer="none",
        n=len(plain.ms),
        spread=f"p50 {plain.p(0.5):.0f}, last {max(plain.last_ms):.0f}; one slow in ten {slow.p(0.99):.0f}; "
        f"two replicas on etcd {two.p(0.99):.0f}; {agents} real connections; {plain.cpu_us:.0f} us of CPU per agent; "
        f"{crowd.shared()}",
    )


def _one_replica(directory: Path, agents: int) -> tuple[Held, Sequence[Pushes]]:
    directory.mkdir()
    crowd.raise_limits(agents)
    with Mesh(directory) as mesh:
        mesh.init()
        mesh.start_control_plane()
        empty = crowd.resident_kib(mesh.control_plane.child.pid)
        mesh.control_plane.kill()
        nodes = fleet.seed(mesh, agents + 2 * ROUNDS)
        mesh.start_control_plane()
        time.sleep(SETTLE_S)
        pid = mesh.control_plane.child.pid
        before, cpu, started = crowd.resident_kib(pid), crowd.cpu_s(pid), time.monotonic()
        with crowd.crowd(mesh, nodes, agents) as them:
            opened_s, opening_s = time.monotonic() - started, crowd.cpu_s(pid) - cpu
            time.sleep(SETTLE_S)
            cpu = crowd.cpu_s(pid)
            time.sleep(REST_S)
            after = crowd.resident_kib(pid)
            held = Held(
                kib=(after - before) / agents,
                all_kib=(after - empty) / agents,
                rest_us_per_s=(crowd.cpu_s(pid) - cpu) / REST_S / agents * 1e6,
                opened_s=opened_s,
                opening_ms=opening_s / agents * 1000,
            )
            _say(f"{agents} agents", held)
            plain = _pushes(mesh, them, range(agents, agents + ROUNDS), [0] * crowd.PROCESSES)
            _say(f"{agents} agents, 1 replica", plain)
            spared = [answer["slow"] for answer in them.ask("slow", SLOW_EVERY)]
            slow = _pushes(mesh, them, range(agents + ROUNDS, agents + 2 * ROUNDS), spared)
            _say(f"{agents} agents, 1 replica, {sum(spared)} take nothing", slow)
            _check_lost(them, agents)
    return held, (plain, slow)


def _two_replicas(directory: Path, agents: int) -> Pushes:
    directory.mkdir()
    with Mesh(directory, store="etcd", replicas=2) as mesh:
        mesh.init()
        nodes = fleet.seed(mesh, agents + ROUNDS)
        mesh.start_control_plane()
        with crowd.crowd(mesh, nodes, agents) as them:
            time.sleep(SETTLE_S)
            found = _pushes(mesh, them, range(agents, agents + ROUNDS), [0] * crowd.PROCESSES)
            _say(f"{agents} agents, 2 replicas on etcd", found)
            _check_lost(them, agents)
    return found


def _pushes(mesh: Mesh, them: crowd.Crowd, victims: Sequence[int], spared: Sequence[int]) -> Pushes:
    pids = [one.process.child.pid for one in mesh.replicas]
    cpu = sum(map(crowd.cpu_s, pids))
    rounds = [_round(mesh, them, victim, spared) for victim in victims]
    cpu = sum(map(crowd.cpu_s, pids)) - cpu
    arrived = sorted(ms for one in rounds for ms in one)
    return Pushes(ms=arrived, last_ms=[one[-1] for one in rounds], cpu_us=cpu / len(arrived) * 1e6)


def _round(mesh: Mesh, them: crowd.Crowd, victim: int, spared: Sequence[int]) -> list[float]:
    started = time.monotonic()
    done = mesh.revoke(f"n{victim}.{fleet.SITE}")
    arrived = them.arrivals(done.generation, spared)
    time.sleep(PAUSE_S)
    return [(at - started) * 1000 for at in arrived]


def _check_lost(them: crowd.Crowd, agents: int) -> None:
    lost = sum(sum(answer["failures"].values()) for answer in them.ask("state"))
    print(f"{lost} connections were lost, and came back", flush=True)
    if lost > agents * LOST_SHARE:
        raise SystemExit(f"{lost} of {agents} connections were lost: this is not what is measured")


def _say(what: str, found: object) -> None:
    print(f"{what}: {found}; load {os.getloadavg()[0]:.0f}", flush=True)
