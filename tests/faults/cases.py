"""The table of faults: which case a test is about, what must hold, and what was seen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])
NUMBERS = (*range(1, 20), *range(24, 28), *range(34, 37))


@dataclass(frozen=True)
class Case:
    """One row: number and name of the fault, and what must hold."""

    number: int
    fault: str
    holds: str


@dataclass
class Seen:
    """What a run has seen: outcome and facts, by number."""

    cases: dict[int, Case] = field(default_factory=dict)
    outcomes: dict[int, set[str]] = field(default_factory=dict)
    facts: dict[int, list[str]] = field(default_factory=dict)

    def ended(self, case: Case, outcome: str) -> None:
        self.cases[case.number] = case
        self.outcomes.setdefault(case.number, set()).add(outcome)

    def rows(self) -> list[str]:
        broken = sum(outcomes != {"passed"} for outcomes in self.outcomes.values())
        total = f"  {len(self.cases)} faults, {broken} broken"
        return [*map(self._row, sorted(self.cases)), total] if self.cases else []

    def _row(self, number: int) -> str:
        case, facts = self.cases[number], "; ".join(self.facts.get(number, ()))
        held = "held" if self.outcomes[number] == {"passed"} else "BROKEN"
        return f"  F{number:<3} {held:<6}  {case.fault}: {case.holds}" + (f" ({facts})" if facts else "")


def case(number: int, fault: str, holds: str) -> Callable[[Test], Test]:
    """Mark a test as being about a fault."""
    made = Case(number, fault, holds)

    def mark(test: Test) -> Test:
        test.case = made  # type: ignore[attr-defined]  # read by the table
        return pytest.mark.faults(pytest.mark.slow(test))

    return mark
