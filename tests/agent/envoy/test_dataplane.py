"""What Envoy enforces follows what was verified, also after it had dropped everything."""

import time

import pytest
from sidecar import CALLER, POLICY, Running

ME = "spiffe://acme.example/fr/paris/app-1"


def test_what_envoy_dropped_when_its_agent_fell_silent_comes_back_whole() -> None:
    running = Running(lease_s=2)
    with running as sidecar:
        assert sidecar.ask().allowed
        deadline = time.monotonic() + 15
        while sidecar.ask().status != 500:  # first the lease denies, then the gate itself is gone
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.run(running.enforce(lease_s=600))
        assert sidecar.ask().allowed
        assert sidecar.ask(body=b'{"model":"secret"}').code == "unknown_resource"


def test_a_revocation_and_its_end_take_effect_at_once() -> None:
    running = Running()
    with running as sidecar:
        assert sidecar.ask().allowed
        running.run(running.enforce(floors={ME: None}))
        assert sidecar.ask().code == "revoked"
        running.run(running.enforce(floors={ME: 2}))
        assert sidecar.ask().code == "revoked"
        assert sidecar.ask(sidecar.pki.node("app-1", attributes=CALLER, epoch=2)).allowed
        running.run(running.enforce())
        assert sidecar.ask().allowed


@pytest.mark.parametrize("epoch", [1, 9])
def test_epochs_just_above_the_floor_are_accepted(epoch) -> None:
    with Running() as sidecar:
        assert sidecar.ask(sidecar.pki.node("app-1", attributes=CALLER, epoch=epoch)).allowed


def test_policies_that_change_never_open_what_both_forbid() -> None:
    """While one policy replaces another, a request that both deny is denied throughout."""
    other = POLICY.replace('"clinical-chat"', '"chat-2"').replace("<= 2", "<= 3")
    running = Running()
    with running as sidecar:
        for number in range(20):
            running.run(running.enforce(policy=other if number % 2 else POLICY))
            answer = sidecar.ask(headers=[], claims=True, body=b'{"model":"secret"}')
            assert not answer.allowed
            assert sidecar.ask().allowed
