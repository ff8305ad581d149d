"""No stream outlives what allowed it, and every control is the reason."""

import pytest
from attacks.control import Control, by_name, falls, holds
from attacks.streams import CONTROLS, Streams, known, unknown
from sidecar import Running

from agent.envoy import cut

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not cut.can_cut(), reason="cutting needs CAP_NET_ADMIN"),
]


@pytest.fixture(scope="module")
def running():
    made = Running()
    with made:
        yield made


def test_a_stream_that_is_still_allowed_flows_on(running) -> None:
    assert Streams(running).through(known())
    assert Streams(running).through(unknown())


@by_name(CONTROLS)
def test_streams_are_cut(control: Control, running, tally) -> None:
    holds(control, Streams(running), tally)


@by_name(CONTROLS)
def test_without_the_control_they_flow_on(control: Control, running, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, Streams(running), tally)
