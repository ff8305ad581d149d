"""Keys and tokens are where they belong, the control plane is who it should be, and every control is the reason."""

import pytest
from attacks import impostors, secrets_at_rest
from attacks.control import Control, by_name, falls, holds
from attacks.desk import Desk
from attacks.keeping import Place


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@by_name(secrets_at_rest.CONTROLS)
def test_nobody_else_reads_a_key(control: Control, tally) -> None:
    holds(control, Place(), tally)


@by_name(secrets_at_rest.CONTROLS)
def test_without_the_control_somebody_does(control: Control, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, Place(), tally)


@by_name(secrets_at_rest.TOKENS)
def test_nobody_else_reads_a_token(control: Control, desk, tally) -> None:
    holds(control, desk, tally)


@by_name(secrets_at_rest.TOKENS)
def test_without_the_control_somebody_reads_a_token(control: Control, desk, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, desk, tally)


@by_name(impostors.CONTROLS)
def test_an_agent_believes_no_impostor(control: Control, tally) -> None:
    holds(control, impostors.Agent(), tally)


@by_name(impostors.CONTROLS)
def test_without_the_control_it_does(control: Control, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, impostors.Agent(), tally)
