"""Every attack on the control plane's API is stopped, and every control is the reason."""

import pytest
from attacks import administering, ending, enrolling, plane, renewing
from attacks.control import Control, by_name, falls, holds

from controlplane.services.identity import enrolment

pytestmark = pytest.mark.timeout(90)
CONTROLS = (*administering.CONTROLS, *enrolling.CONTROLS, *renewing.CONTROLS, *ending.CONTROLS)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, plane.running(tmp_path_factory.mktemp("plane")) as found:
        patch.setattr(enrolment, "MAX_REFUSED_PER_MINUTE", 100_000)  # all our attacks come from one address
        yield found


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, api, tally) -> None:
    holds(control, api, tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, api, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, api, tally)
