"""`writ status` and `writ check` on a mesh of ten thousand nodes, as an operator waits for them: process start included."""

import asyncio
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rows import Row
from controlplane import model
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.store.sqlite import SqliteStore

NODES, ROUNDS, BATCH = 10_000, 7, 90
ROW = NodeRow(
    trust_domain=TRUST_DOMAIN,
    node="n",
    site="paris",
    jurisdiction="FR",
    groups=["clinical"],
    purposes=["treatment"],
    state=model.ENROLLED,
    epoch=1,
    address="10.0.0.1:7443",
)


def run(directory: Path) -> list[Row]:
    with Mesh(directory) as mesh:
        mesh.init()
        asyncio.run(_fill(directory / "controlplane" / "writ.db"))
        mesh.start_control_plane()
        environment = {**os.environ, "WRIT_CONFIG": str(mesh.context_file)}
        writ = str(Path(sys.executable).with_name("writ"))
        first = _time([writ, "status"], environment)
        status = [_time([writ, "status"], environment) for _ in range(ROUNDS)]
        check = [_time([writ, "check"], environment) for _ in range(ROUNDS)]
        listing = _time([writ, "node", "list"], environment)
    spread = f"{min(status):.2f}-{max(status):.2f}; first {first:.2f}, `node list` {listing:.2f}"
    return [
        _row("status_10000_s", status, spread),
        _row("check_10000_s", check, f"{min(check):.2f}-{max(check):.2f}"),
    ]


def _row(name: str, seconds: list[float], spread: str) -> Row:
    return Row(
        name=name,
        value=statistics.median(seconds),
        unit="s",
        target=2.0,
        floor=4.0,
        better="lower",
        peer="none",
        n=len(seconds),
        spread=f"{spread}; {NODES} rows in SQLite, no agent connected",
    )


async def _fill(path: Path) -> None:
    store = SqliteStore.open(path)
    now = int(time.time())
    try:
        for start in range(0, NODES, BATCH):
            made = [
                dataclasses.replace(ROW, node=f"n-{i}", not_after=now + i % 3600)
                for i in range(start, min(start + BATCH, NODES))
            ]
            put = {rows.node_key(row.node, row.site): model.dump(row) for row in made}
            await store.commit(expect={}, put=put)
    finally:
        await store.close()


def _time(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode not in {0, 1}:  # 1: `check` found what there is to find
        raise RuntimeError(done.stderr)
    return time.perf_counter() - started
