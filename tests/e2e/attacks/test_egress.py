"""What may not leave does not reach anybody, and every control of the caller's sidecar is the reason."""

import time

import pytest
from attacks import egress
from attacks.control import Control, by_name, falls, holds
from attacks.egress import CONTROLS, Egress, Peers
from pki import Pki

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def peers():
    with egress.peers(Pki(now=int(time.time()))) as found:
        yield found


@pytest.fixture(scope="module")
def plain(peers):
    with egress.caller(peers, {}) as sidecar:
        yield sidecar


@pytest.mark.parametrize(("peer", "data_class"), [(egress.EU, "4"), (egress.US, "2")])
def test_what_may_leave_arrives(plain, peers: Peers, peer: str, data_class: str) -> None:
    assert Egress(plain, peers).through(egress.to(peer, data_class))


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, plain, peers, tally) -> None:
    if not control.changes:
        return holds(control, Egress(plain, peers), tally)
    with egress.caller(peers, control.changes) as sidecar:
        return holds(control, Egress(sidecar, peers), tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, peers, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    with egress.caller(peers, control.changes) as sidecar:
        falls(control, Egress(sidecar, peers), tally)
