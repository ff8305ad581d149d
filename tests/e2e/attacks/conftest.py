"""The attack table is printed at the end of a run: control, how many attacks it stopped, whether its mutant was caught."""

import pytest
from attacks.control import Tally

TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(TALLY, Tally())


@pytest.fixture
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TALLY, Tally())
    if not found.invariant:
        return
    terminalreporter.section("attack table")
    for row in found.rows():
        terminalreporter.write_line(row)
    terminalreporter.write_line(
        f"  {found.stopped.total()} attacks stopped by {len(found.invariant)} controls, "
        f"{len(found.caught)} mutants caught"
    )
