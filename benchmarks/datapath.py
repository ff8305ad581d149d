"""What deciding and recording at both ends costs, beside the same two Envoys doing plain mTLS without access log, and
beside the same two with a call-out from each to an authoriser (ext_authz over HTTP on a Unix socket, Python with uvloop),
which decides at both ends as well, and records nothing.

200 policies apply to the callee, over 50 groups; a rule reads `model` from a 1 kB body; 1,000 nodes in 50 attribute classes
are enrolled in the mesh's store. Rounds are interleaved; the run is void unless records are twice the requests.
Load comes from wrk (installed from the distribution when it is missing), 32 connections; latency with one.
"""

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load, plain
from benchmarks.mesh import CALLEE, CALLER, backend, two_nodes
from benchmarks.rows import Row
from controlplane.cli.demo.mesh import Mesh, Node

ROUNDS, SECONDS, CONNECTIONS, GROUPS, PER_GROUP = 5, 4, 32, 50, 4
BODY = json.dumps({"model": "ngram", "messages": [{"role": "user", "content": "x" * 930}]}).encode()
CLAIMS = {"writ-purpose": "treatment", "writ-data-class": "1"}


@dataclass
class Way:
    """One way from load to backend: where to send, and the Host that selects the peer."""

    name: str
    port: int
    host: str


def policies() -> str:
    """200 permits: four per group, for different purposes; the caller's is one of them."""
    purposes = ("research", "billing", "audit", "treatment")
    return "\n".join(
        f'@id("g{group}-{purpose}")\npermit (principal in Group::"g{group}", action in [Action::"infer", Action::"embed"], '
        f'resource in ModelGroup::"clinical") when {{ context.purpose == "{purpose}" && context.data_class <= 3 }};'
        for group in range(GROUPS)
        for purpose in purposes[:PER_GROUP]
    )


def run(directory: Path) -> list[Row]:
    wrk = wrk_binary()
    groups = [f"g{number}" for number in range(GROUPS)]
    with backend(directory) as port, two_nodes(directory, port) as mesh:
        regroup(mesh, groups[GROUPS // 2])
        mesh.policy(policies())
        mesh.wait_enforced()
        with (
            plain.pair(directory, mesh, port) as bare,
            plain.pair(directory, mesh, port, authorise=True) as asked,
        ):
            ways = [
                Way("writ", mesh.nodes[CALLER].known_ports["egress"], f"{CALLEE}.mesh"),
                Way("plain", bare, "x"),
                Way("ext_authz", asked, "x"),
            ]
            return _measure(wrk, directory, mesh, ways)


def _measure(wrk: str, directory: Path, mesh: Mesh, ways: list[Way]) -> list[Row]:
    before, asked = _records(mesh), 0
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    latencies: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in ways if number % 2 else reversed(ways):
            rate, done = wrk_run(wrk, directory, way)
            one = asyncio.run(load.run(_asking(way), connections=1, seconds=SECONDS / 2))
            if set(one.statuses) != {200} or one.broken:
                raise SystemExit(f"{way.name}: {one.statuses}, {one.broken} broken")
            asked += (done + one.requests) if way.name == "writ" else 0
            if number:  # the first round warms up
                rates[way.name].append(rate)
                latencies[way.name].append(one.percentile(0.5))
    records = _settled(mesh, before + 2 * asked) - before
    for name, measured in rates.items():
        middle = statistics.median(latencies[name])
        print(f"    {name:<10} {statistics.median(measured):8.0f}/s   p50 {middle:.3f} ms")
    print(f"    {asked} requests, {records} records")
    if abs(records - 2 * asked) > 2 * CONNECTIONS * (
        ROUNDS + 1
    ):  # wrk leaves requests in flight when it stops
        raise SystemExit(f"void: {records} records for {asked} requests")
    return _rows(rates, latencies)


def _rows(rates: dict[str, list[float]], latencies: dict[str, list[float]]) -> list[Row]:
    throughput = [a / b for a, b in zip(rates["writ"], rates["plain"], strict=True)]
    added = [a / b for a, b in zip(latencies["writ"], latencies["plain"], strict=True)]
    against = [a / b for a, b in zip(rates["writ"], rates["ext_authz"], strict=True)]
    made = []
    for name, values, target, floor, better, peer in (
        ("datapath_throughput_ratio", throughput, 0.85, 0.65, "higher", "same Envoys, plain mTLS, no log"),
        ("datapath_latency_ratio", added, 1.10, 1.25, "lower", "same Envoys, plain mTLS, no log"),
        (
            "datapath_vs_ext_authz",
            against,
            1.0,
            1.0,
            "higher",
            "same Envoys, ext_authz to Python at both ends, no log",
        ),
    ):
        spread = f"{min(values):.2f}-{max(values):.2f}"
        made.append(
            Row(
                name=name,
                value=statistics.median(values),
                unit="x",
                target=target,
                floor=floor,
                better=better,
                peer=peer,
                n=ROUNDS,
                spread=spread,
            )
        )
    return made


def _asking(way: Way) -> load.Next:
    raw = load.request(way.host, "/v1/chat/completions", BODY, **CLAIMS)
    return lambda: (way.port, raw)


def wrk_run(wrk: str, directory: Path, way: Way) -> tuple[float, int]:
    """(requests a second, requests) of one run."""
    script = directory / f"{way.name}.lua"
    headers = {"Host": way.host, "Content-Type": "application/json", **CLAIMS}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script.write_text(f'wrk.method = "POST"\nwrk.body = [[{BODY.decode()}]]\n' + "\n".join(lines))
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script)]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{way.port}/v1/chat/completions"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    if "Non-2xx" in said:
        raise SystemExit(f"{way.name}: not all requests were allowed:\n{said}")
    rate, done = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"(\d+) requests in", said)
    if rate is None or done is None:
        raise SystemExit(said)
    return float(rate[1]), int(done[1])


def wrk_binary() -> str:
    if shutil.which("wrk") is None:
        command = ["apt-get", "install", "-y", "wrk"]
        if os.getuid():
            raise SystemExit("wrk is missing; run: sudo " + " ".join(command))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return shutil.which("wrk") or "wrk"


def regroup(mesh: Mesh, group: str) -> None:
    from controlplane.api.gen import admin_pb2

    attributes = admin_pb2.Attributes(groups=[group], purposes=["treatment"], tier=2, class_ceiling=4)
    mesh.call("SetNode", admin_pb2.SetNodeRequest(node="app-1", site="paris", attributes=attributes))
    mesh.wait_enforced()
    time.sleep(1)  # the renewed certificate is asked for in the background


def _records(mesh: Mesh) -> int:
    return sum(_count(node) for node in mesh.nodes.values())


def _count(node: Node) -> int:
    text = (node.evidence / "checkpoint").read_text()
    return int(text.split("\n")[1])


def _settled(mesh: Mesh, wanted: int) -> int:
    """Records, once the logs have stopped growing."""
    last, quiet = -1, 0
    while quiet < 20:
        time.sleep(0.2)
        now = _records(mesh)
        quiet, last = (quiet + 1, now) if now == last else (0, now)
        if now >= wanted and quiet > 10:
            break
    return last
