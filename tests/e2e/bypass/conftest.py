"""At the end of a run: how many attempts were denied, how many were harmless, by class."""

from collections import Counter

import pytest

OUTCOMES = pytest.StashKey[Counter[tuple[str, str]]]()


@pytest.fixture
def outcomes(pytestconfig: pytest.Config) -> Counter[tuple[str, str]]:
    return pytestconfig.stash.setdefault(OUTCOMES, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(OUTCOMES, Counter())
    if not found:
        return
    terminalreporter.section("bypass attempts")
    for ref in dict.fromkeys(ref for ref, _ in found):
        denied, harmless = found[ref, "denied"], found[ref, "harmless"]
        terminalreporter.write_line(f"  {ref:<28} {denied:>4} denied  {harmless:>4} harmless")
    denied = sum(count for (_, outcome), count in found.items() if outcome == "denied")
    terminalreporter.write_line(
        f"  {sum(found.values())} attempts: {denied} denied, {sum(found.values()) - denied} harmless"
    )
