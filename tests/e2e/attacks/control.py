"""One row of the attack table: a control, the attacks that it stops, and how it is switched off.

A harness is what attacks are made on: a sidecar, a verifier, a control plane, a log, a mesh. It says whether an attack got
through; the two functions below say whether the control holds, and whether it is the reason.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

Patch = Callable[[pytest.MonkeyPatch], None]
Attack = Callable[[Any], Any]
"""Called with the harness's subject; what it returns or raises is the harness's to judge."""


@dataclass(frozen=True)
class Control:
    """One thing that stops attacks. `changes` are of the harness that all its attacks run in, `given` has gone wrong before."""

    invariant: int
    name: str
    attacks: Sequence[tuple[str, Attack]]
    switch_off: Patch
    changes: Mapping[str, Any] = field(default_factory=dict)
    given: Patch | None = None


class Harness(Protocol):
    """Runs one attack after another."""

    def through(self, attack: Attack) -> bool: ...


@dataclass
class Tally:
    """What a test or a run has seen: attacks stopped per control, and whose mutants were caught."""

    invariant: dict[str, int] = field(default_factory=dict)
    stopped: Counter[str] = field(default_factory=Counter)
    caught: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        self.invariant |= other.invariant
        self.stopped.update(other.stopped)
        self.caught |= other.caught

    def rows(self) -> list[str]:
        names = sorted(self.invariant, key=lambda name: (self.invariant[name], name))
        total = f"  {sum(self.stopped.values())} attacks stopped by {len(names)} controls, {len(self.caught)} mutants caught"
        return [*map(self._row, names), total] if names else []

    def _row(self, name: str) -> str:
        caught = f"mutant caught by {self.caught[name]}" if name in self.caught else "mutant not run"
        return f"  invariant {self.invariant[name]:>2}  {name:<46} {self.stopped[name]:>2} stopped   {caught}"


def holds(control: Control, harness: Harness, tally: Tally) -> None:
    """Every attack is stopped."""
    tally.invariant[control.name] = control.invariant
    for name, attack in control.attacks:
        assert not harness.through(attack), f"an attack got through: {name}"
        tally.stopped[control.name] += 1


def falls(control: Control, harness: Harness, tally: Tally) -> None:
    """The control is switched off: an attack gets through, or the control could go and nobody would notice."""
    tally.invariant[control.name] = control.invariant
    through = [name for name, attack in control.attacks if harness.through(attack)]
    assert through, "the control is off, and every attack is still stopped"
    tally.caught[control.name] = len(through)


def by_name(controls: Sequence[Control]) -> pytest.MarkDecorator:
    """One test per control."""
    return pytest.mark.parametrize("control", controls, ids=[control.name for control in controls])
