"""Every attack on what an agent is told is stopped, and every check of a document is the reason."""

from attacks import documents_authentic, documents_fresh, documents_roots, documents_twice
from attacks.control import Control, by_name, falls, holds
from attacks.documents import Listener

CONTROLS = (
    *documents_authentic.CONTROLS,
    *documents_fresh.CONTROLS,
    *documents_twice.CONTROLS,
    *documents_roots.CONTROLS,
)


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, tally) -> None:
    holds(control, Listener(), tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, Listener(), tally)
