"""Every attack on issuing CAs is stopped, and every control is the reason."""

import pytest
from attacks.authorities import CONTROLS, Mint
from attacks.control import Control, by_name, falls, holds


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, tally) -> None:
    holds(control, Mint(), tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(
    control: Control, monkeypatch: pytest.MonkeyPatch, tally
) -> None:
    control.switch_off(monkeypatch)
    falls(control, Mint(), tally)
