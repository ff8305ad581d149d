"""The demo from nothing: install to first decision with a warm package cache, and how long the show takes."""

import re
import subprocess
import time
from pathlib import Path

from benchmarks.rows import Row


def run(directory: Path) -> list[Row]:
    source = Path(__file__).resolve().parent.parent
    subprocess.run(["git", "clone", "--quiet", str(source), str(directory / "clone")], check=True)
    started = time.perf_counter()
    first = 0.0
    process = subprocess.Popen(
        ["make", "demo"], cwd=directory / "clone", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = ""
    for line in process.stdout or ():
        output += line
        if not first and "chat, treatment:" in line:
            first = time.perf_counter() - started
    if process.wait():
        raise SystemExit(f"the demo failed:\n{output[-3000:]}")
    found = re.search(r"in ([\d.]+) s", output)
    show = float(found[1]) if found else float("nan")
    common = {"unit": "s", "better": "lower", "peer": "none", "n": 1, "spread": "single run"}
    return [
        Row(name="demo_first_decision_s", value=first, target=60, floor=90, **common),
        Row(name="demo_show_s", value=show, target=30, floor=45, **common),
    ]
