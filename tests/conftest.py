"""Tables at the end of a run: attacks, bypass attempts, faults. Each test's part is in its report, whichever process ran it."""

from collections import Counter

import pytest
from attacks.control import Tally
from bypass.outcomes import rows as bypass_rows
from faults.cases import Case, Seen


class Tables:
    """Puts together what tests say of themselves, and prints it."""

    def __init__(self) -> None:
        self._attacks, self._faults = Tally(), Seen()
        self._bypass: Counter[tuple[str, str]] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for kind, said in report.user_properties:
            if kind == "fault" and (report.when == "call" or report.outcome != "passed"):
                self._faults.ended(Case(*said), report.outcome)
            elif report.when != "teardown":
                continue  # a report holds what those before it held
            elif kind == "attacks":
                self._attacks.add(Tally(*said))
            elif kind == "bypass":
                self._bypass.update({(ref, outcome): count for ref, outcome, count in said})
            elif kind == "saw":
                self._faults.facts.setdefault(said[0], []).append(said[1])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        tables = {
            "attack table": self._attacks.rows(),
            "bypass attempts": bypass_rows(self._bypass),
            "faults": self._faults.rows(),
        }
        for name, rows in tables.items():
            if rows:
                terminalreporter.section(name)
            for row in rows:
                terminalreporter.write_line(row)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Tables(), "writ-tables")
