"""Every attack on what the control plane signs is stopped, and every control is the reason."""

import pytest
from attacks.control import Control, by_name, falls, holds
from attacks.desk import Desk
from attacks.signing import CONTROLS


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, desk, tally) -> None:
    holds(control, desk, tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, desk, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, desk, tally)
