"""Peak resident memory of the callee's agent after a minute of load with 200 open streams."""

import asyncio
from pathlib import Path

from benchmarks import load
from benchmarks.mesh import CALLEE, CALLER, two_nodes
from benchmarks.rows import Row
from controlplane.cli.demo import calls

SECONDS, STREAMS, CONNECTIONS = 60, 200, 16
TREATMENT = {"purpose": "treatment", "data-class": "1"}


def run(directory: Path) -> list[Row]:
    with two_nodes(directory, None) as mesh:
        port = mesh.nodes[CALLER].known_ports["egress"]
        streams = [
            calls.start_stream(mesh.nodes[CALLER], CALLEE, TREATMENT, pause_s=0.5) for _ in range(STREAMS)
        ]
        ask = load.request(
            f"{CALLEE}.mesh",
            "/v1/embeddings",
            b'{"model":"ngram","input":"list"}',
            **{"writ-purpose": "treatment", "writ-data-class": "1"},
        )
        result = asyncio.run(load.run(lambda: (port, ask), connections=CONNECTIONS, seconds=SECONDS))
        child = mesh.nodes[CALLEE].agent.child
        peak = _peak_mib(child.pid) if child else float("nan")
        open_ = sum(not stream.ended.is_set() for stream in streams)
        for stream in streams:
            stream.close()
    spread = f"{result.requests} requests, {open_} streams open at the end"
    return [
        Row(
            name="agent_rss_mib",
            value=peak,
            unit="MiB",
            target=60,
            floor=75,
            better="lower",
            peer="none",
            n=1,
            spread=spread,
        )
    ]


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")
