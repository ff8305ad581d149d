"""The table is whole: every fault that was promised has a test."""

import importlib
from pathlib import Path

from faults.cases import NUMBERS


def test_every_fault_that_was_promised_has_a_test() -> None:
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    modules = [importlib.import_module(f"faults.{path.stem}") for path in files if path != Path(__file__)]
    tests = [one for module in modules for name, one in vars(module).items() if name.startswith("test_")]
    assert sorted({test.case.number for test in tests}) == list(NUMBERS)
