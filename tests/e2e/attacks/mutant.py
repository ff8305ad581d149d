"""Run `agent` or `controlplane` as a process of its own with one control of `attacks.whole` switched off.

`python mutant.py CONTROL MODULE ARGUMENTS…`
"""

import importlib
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


def main() -> int:
    name, module = sys.argv[1:3]
    sys.path[:0] = [str(TESTS), str(TESTS / "e2e")]
    program = importlib.import_module(
        f"{module}.__main__"
    )  # first: it sets what gRPC reads when it is loaded
    whole = importlib.import_module("attacks.whole")
    (control,) = (one for one in whole.CONTROLS if one.name == name)
    control.switch_off(pytest.MonkeyPatch())
    sys.argv[1:3] = []
    return int(program.main())


if __name__ == "__main__":
    sys.exit(main())
