"""Throughput through both sidecars with many policies that all apply to the callee, beside the same sidecars with none to
search: a single permit without a condition. The policy set is replaced between runs; nothing else changes.

Nine in ten are permits, one in ten a forbid, over as many groups as there are policies divided by four, with purposes and
classes; all are about the one model that is asked for, and exactly one permit allows the caller. Rounds are interleaved.
"""

import statistics
from pathlib import Path

from benchmarks import datapath
from benchmarks.mesh import CALLEE, CALLER, backend, two_nodes
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import Mesh

COUNTS, ROUNDS = (1, 100, 1_000, 5_000), 4
NONE = '@id("none")\npermit (principal, action, resource);'
PURPOSES = ("research", "billing", "audit", "treatment")
GROUP = "g7"


def policies(count: int) -> str:
    """The caller's permit is in the middle of the order of ids."""
    found = [_policy(f"m{count // 2:05}", GROUP, "treatment", forbid=False)]
    for number in range(count - 1):
        group = f"g{number // 4 + (number // 4 >= 7)}x"
        name = f"{'a' if number % 2 else 'z'}{number:05}"
        found.append(_policy(name, group, PURPOSES[number % 4], forbid=number % 10 == 0))
    return "\n".join(found)


def _policy(name: str, group: str, purpose: str, *, forbid: bool) -> str:
    """Short: a policy set has at most 900 kB."""
    return (
        f'@id("{name}")\n{"forbid" if forbid else "permit"}(principal in Group::"{group}",action in'
        f' Action::"infer",resource is Model)when{{context.purpose=="{purpose}"&&context.data_class<=3}};'
    )


def run(directory: Path) -> list[Row]:
    wrk = datapath.wrk_binary()
    with backend(directory) as port, two_nodes(directory, port) as mesh:
        mesh.client.timeout_s = 300  # thousands of policies take the control plane seconds
        datapath.regroup(mesh, GROUP)
        way = datapath.Way("growth", mesh.nodes[CALLER].known_ports["egress"], f"{CALLEE}.mesh")
        rates: dict[int, list[float]] = {count: [] for count in (0, *COUNTS)}
        for number in range(ROUNDS + 1):
            for count in rates if number % 2 else reversed(rates):
                _apply(mesh, policies(count) if count else NONE)
                rate, _ = datapath.wrk_run(wrk, directory, way)
                if number:  # the first round warms up
                    rates[count].append(rate)
    return [_row(count, rates[count], rates[0]) for count in COUNTS]


def _apply(mesh: Mesh, text: str) -> None:
    mesh.policy(text)
    mesh.wait_enforced(timeout_s=120)


def _row(count: int, rates: list[float], none: list[float]) -> Row:
    ratios = [rate / base for rate, base in zip(rates, none, strict=True)]
    return Row(
        name=f"datapath_{count}_ratio",
        value=statistics.median(ratios),
        unit="x",
        target=0.8,
        floor=0.5,
        better="higher",
        peer="same sidecars, one permit without a condition",
        n=ROUNDS,
        spread=f"{min(ratios):.2f}-{max(ratios):.2f}",
    )
