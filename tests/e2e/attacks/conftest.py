"""The attack table is printed at the end of a run: control, how many attacks it stopped, whether its mutant was caught."""

from collections import Counter
from dataclasses import dataclass, field

import pytest


@dataclass
class Tally:
    stopped: Counter[str] = field(default_factory=Counter)
    killed: set[str] = field(default_factory=set)
    invariant: dict[str, int] = field(default_factory=dict)


TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(TALLY, Tally())


@pytest.fixture
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TALLY, Tally())
    if not found.stopped:
        return
    terminalreporter.section("attack table")
    for control, count in sorted(
        found.stopped.items(), key=lambda one: (found.invariant.get(one[0], 0), one[0])
    ):
        mutant = "mutant caught" if control in found.killed else "mutant not run"
        terminalreporter.write_line(
            f"  invariant {found.invariant.get(control, 0):>2}  {control:<44} {count:>2} stopped   {mutant}"
        )
    total = sum(found.stopped.values())
    terminalreporter.write_line(
        f"  {total} attacks stopped by {len(found.stopped)} controls, {len(found.killed)} mutants caught"
    )
