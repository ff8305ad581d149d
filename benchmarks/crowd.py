"""Processes of simulated agents, and what the control plane's process costs meanwhile."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import fleet
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh

PROCESSES = 2


def raise_limits(sockets: int) -> None:
    """As many open files as the system lets us have; every process of the benchmark inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < sockets + 500:
        raise SystemExit(f"{sockets} connections need {sockets + 500} open files; the limit is {hard}")


class Crowd:
    """`count` agents in processes of their own, connected, and told all there is."""

    def __init__(self, mesh: Mesh, nodes: Path, count: int, *, at: int | None = None) -> None:
        """`at`: all begin at this replica, else they spread."""
        fleet.believe(mesh, nodes)
        each = count // PROCESSES
        apis = [one.api for one in mesh.replicas]
        addresses = apis[at or 0 :] + apis[: at or 0]
        self._shares = [each] * (PROCESSES - 1) + [count - each * (PROCESSES - 1)]
        starts = [sum(self._shares[:number]) for number in range(PROCESSES)]
        self._processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.agents", str(nodes), TRUST_DOMAIN),
                    *(str(start), str(share)),
                    *("spread" if at is None else "together", *addresses),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for start, share in zip(starts, self._shares, strict=True)
        ]
        try:
            self._answers()
        except BaseException:
            self.end()
            raise

    def ask(self, *words: object) -> list[dict[str, Any]]:
        for one in self._processes:
            one.stdin.write(" ".join(map(str, words)) + "\n")
            one.stdin.flush()
        return self._answers()

    def arrivals(self, generation: int, spared: Sequence[int]) -> list[float]:
        """When this generation came to each agent, by the clock that all processes share; `spared` answer to nothing."""
        for one, share, spare in zip(self._processes, self._shares, spared, strict=True):
            one.stdin.write(f"report {generation} {share - spare}\n")
            one.stdin.flush()
        arrived = sorted(at for answer in self._answers() for at in answer["arrived"])
        wanted = sum(self._shares) - sum(spared)
        if len(arrived) < wanted:
            raise SystemExit(f"{len(arrived)} of {wanted} agents were told")
        return arrived

    def _answers(self) -> list[dict[str, Any]]:
        lines = [one.stdout.readline() for one in self._processes]
        if not all(lines):
            raise SystemExit("a process of agents ended")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        for one in self._processes:
            one.kill()
            one.communicate()


@contextmanager
def crowd(mesh: Mesh, nodes: Path, count: int, **how: Any) -> Iterator[Crowd]:
    made = Crowd(mesh, nodes, count, **how)
    try:
        yield made
    finally:
        made.end()


def resident_kib(pid: int, field: str = "VmRSS") -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise SystemExit(f"process {pid} has ended")


def cpu_s(pid: int) -> float:
    """User and system time so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def shared() -> str:
    """How many others wanted the cores in the last minute: a figure of a busy machine says so."""
    return f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
