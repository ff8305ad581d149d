"""`writ --help` against a typer program of two commands."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rows import Row

PEER = """
import typer
app = typer.Typer()
@app.command()
def one(): ...
@app.command()
def two(): ...
app()
"""
ROUNDS = 15


def run(directory: Path) -> list[Row]:
    peer = directory / "peer.py"
    peer.write_text(PEER)
    writ = str(Path(sys.executable).with_name("writ"))
    pairs = [
        (_time([writ, "--help"]), _time([sys.executable, str(peer), "--help"])) for _ in range(ROUNDS + 1)
    ][1:]
    ratios = [ours / theirs for ours, theirs in pairs]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}; {statistics.median(o for o, _ in pairs) * 1000:.0f} ms"
    value = statistics.median(ratios)
    return [
        Row(
            name="cli_start_ratio",
            value=value,
            unit="x",
            target=1.2,
            floor=1.5,
            better="lower",
            peer="typer program of two commands",
            n=ROUNDS,
            spread=spread,
        )
    ]


def _time(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
