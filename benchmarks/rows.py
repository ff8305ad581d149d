"""Rows of results: one figure each, beside what was aimed for and the floor below which it is a defect."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`target` is the aim; `floor` the bound; `better` says in which direction."""

    name: str
    value: float
    unit: str
    target: float
    floor: float
    better: str  # higher, lower
    peer: str
    n: int
    spread: str

    @property
    def verdict(self) -> str:
        up = self.better == "higher"
        if self.value >= self.target if up else self.value <= self.target:
            return "aim"
        return "floor" if (self.value >= self.floor if up else self.value <= self.floor) else "BELOW"


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "?",
    )
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}"


def save(rows: list[Row]) -> None:
    """Replace these rows, keep the others."""
    known = {row["name"]: row for row in json.loads(FILE.read_text())} if FILE.exists() else {}
    for row in rows:
        known[row.name] = {**asdict(row), "machine": machine()}
    FILE.write_text(json.dumps([known[name] for name in sorted(known)], indent=1) + "\n")


def show(rows: list[Row]) -> None:
    print(f"{'row':<28} {'value':>10} {'unit':<6} {'aim':>8} {'floor':>8}        n  spread")
    for row in rows:
        print(
            f"{row.name:<28} {row.value:>10.3f} {row.unit:<6} {row.target:>8g} {row.floor:>8g}  "
            f"{row.verdict:<5} {row.n:>5}  {row.spread}"
        )
