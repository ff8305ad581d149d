"""Whole processes under faults: nothing that fails allows or forgets, and every control is the reason."""

import pytest
from attacks.control import Control, by_name, falls, holds
from attacks.whole import CONTROLS, Whole

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow, pytest.mark.faults]


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, tmp_path, tally) -> None:
    holds(control, Whole(tmp_path), tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, tmp_path, tally) -> None:
    falls(control, Whole(tmp_path, off=control.name), tally)
