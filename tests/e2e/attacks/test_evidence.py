"""Everything that is done to evidence is named, whatever stops it from being written stops requests, and every check is the reason."""

import pytest
from attacks import keeping, logs
from attacks.control import Control, by_name, falls, holds


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> logs.Evidence:
    return logs.Evidence(logs.make(tmp_path_factory.mktemp("evidence") / "log"))


@by_name(logs.CONTROLS)
def test_what_is_done_to_a_log_is_named(control: Control, evidence, tally) -> None:
    holds(control, evidence, tally)


@by_name(logs.CONTROLS)
def test_without_the_control_it_goes_unnoticed(control: Control, evidence, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, evidence, tally)


@by_name(keeping.CONTROLS)
def test_no_record_is_lost_in_silence(control: Control, tally) -> None:
    holds(control, keeping.Place(), tally)


@by_name(keeping.CONTROLS)
def test_without_the_control_records_are_lost_in_silence(control: Control, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, keeping.Place(), tally)
