"""The table of faults and outcomes, printed at the end of a run."""

from collections.abc import Callable

import pytest
from faults.cases import Seen

SEEN = pytest.StashKey[Seen]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(SEEN, Seen())


@pytest.fixture
def saw(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a fact for the table: what was counted."""
    facts = request.config.stash[SEEN].facts.setdefault(request.function.case.number, [])
    return facts.append


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    found = getattr(getattr(item, "function", None), "case", None)
    if found is not None and (report.when == "call" or report.outcome != "passed"):
        item.config.stash[SEEN].ended(found, report.outcome)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seen = config.stash.get(SEEN, Seen())
    if not seen.cases:
        return
    terminalreporter.section("faults")
    for row in seen.rows():
        terminalreporter.write_line(row)
    broken = sum(outcomes != {"passed"} for outcomes in seen.outcomes.values())
    terminalreporter.write_line(f"  {len(seen.cases)} faults, {broken} broken")
