"""The Workload API of a real agent: how soon a process that starts has its certificate, and what 200 open streams cost.

First answers are each on a connection of its own: connect, attestation by the kernel, certificate, key and bundle.
"""

import os
import time
from pathlib import Path

import grpc

from benchmarks.mesh import CALLER, CLINICAL
from benchmarks.rows import Row
from controlplane.api.gen import admin_pb2, workload_pb2, workload_pb2_grpc
from controlplane.cli.demo.mesh import Mesh, Node

ROUNDS, WARM_UP, STREAMS = 1000, 50, 200
HEADER = (("workload.spiffe.io", "true"),)


def run(directory: Path) -> list[Row]:
    with Mesh(directory) as mesh:
        node = _node(mesh)
        _, took = _first_answers(node, WARM_UP), _first_answers(node, ROUNDS)
        p50, p99 = took[ROUNDS // 2], took[int(ROUNDS * 0.99)]
        each_kib = _streams(node)
    return [
        Row(
            name="workload_api_p99_ms",
            value=p99,
            unit="ms",
            target=20,
            floor=20,
            better="lower",
            peer="none",
            n=ROUNDS,
            spread=f"median {p50:.1f} ms, slowest {took[-1]:.1f} ms",
        ),
        Row(
            name="workload_api_stream_kib",
            value=each_kib,
            unit="KiB",
            target=64,
            floor=128,
            better="lower",
            peer="none",
            n=STREAMS,
            spread="resident memory of the agent, each stream on a connection of its own",
        ),
    ]


def _node(mesh: Mesh) -> Node:
    """One node, with this process as its workload."""
    mesh.init()
    mesh.start_control_plane()
    mesh.site("paris", "FR")
    node = mesh.prepare(CALLER, CLINICAL, serve=False)
    node.agent.start()
    node.agent.ports()
    name, _, site = CALLER.partition(".")
    selectors = [f"unix:uid:{os.getuid()}"]
    mesh.call("RegisterWorkload", admin_pb2.Workload(node=name, site=site, name="web", selectors=selectors))
    while not _ready(node):
        time.sleep(0.05)
    return node


def _ready(node: Node) -> bool:
    try:
        _first_answers(node, 1)
    except grpc.RpcError:
        return False
    return True


def _open(node: Node) -> grpc.Channel:
    return grpc.insecure_channel(f"unix:{node.workload_socket}", [("grpc.use_local_subchannel_pool", 1)])


def _first_answers(node: Node, count: int) -> list[float]:
    """Milliseconds, sorted."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        with _open(node) as channel:
            stream = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel).FetchX509SVID(
                workload_pb2.X509SVIDRequest(), metadata=HEADER, timeout=30
            )
            if len(next(stream).svids) != 1:
                raise SystemExit("this process is one workload")
            took.append((time.perf_counter() - began) * 1000)
    return sorted(took)


def _streams(node: Node) -> float:
    """KiB of resident memory that each open stream costs the agent."""
    channels, streams = [], []
    before = _resident_kib(node)
    for _ in range(STREAMS):
        channels.append(_open(node))
        streams.append(
            workload_pb2_grpc.SpiffeWorkloadAPIStub(channels[-1]).FetchX509SVID(
                workload_pb2.X509SVIDRequest(), metadata=HEADER, timeout=300
            )
        )
        next(streams[-1])
    after = _resident_kib(node)
    for channel in channels:
        channel.close()
    return (after - before) / STREAMS


def _resident_kib(node: Node) -> int:
    if node.agent.child is None:
        raise SystemExit("the agent runs")
    status = Path(f"/proc/{node.agent.child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
