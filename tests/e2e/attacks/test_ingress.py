"""Every attack on the callee's sidecar is stopped, and every control is the reason: switched off, an attack gets through."""

import pytest
from attacks import ingress_arguments, ingress_bodies, ingress_claims, ingress_rules, ingress_tls
from attacks.control import Control, by_name, falls, holds
from attacks.ingress import Ingress
from sidecar import Running

pytestmark = pytest.mark.timeout(60)
CONTROLS = (
    *ingress_rules.CONTROLS,
    *ingress_tls.CONTROLS,
    *ingress_claims.CONTROLS,
    *ingress_bodies.CONTROLS,
    *ingress_arguments.CONTROLS,
)


@pytest.fixture(scope="module")
def plain():
    with Running() as sidecar:
        yield sidecar


def test_a_good_request_reaches_the_backend_as_it_was_sent(plain) -> None:
    answer = plain.ask(headers=[("x-kept", "1")])
    seen = plain.backend.seen[-1]
    assert answer.allowed
    assert (seen["path"], seen["body"], seen["headers"]["x-kept"]) == (
        "/v1/chat/completions",
        '{"model":"ngram"}',
        "1",
    )


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, plain, monkeypatch, tally) -> None:
    if control.given:
        control.given(monkeypatch)
    if not control.changes:
        return holds(control, Ingress(plain), tally)
    with Running(**control.changes) as sidecar:
        return holds(control, Ingress(sidecar), tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, monkeypatch, tally) -> None:
    if control.given:
        control.given(monkeypatch)
    control.switch_off(monkeypatch)
    with Running(**control.changes) as sidecar:
        falls(control, Ingress(sidecar), tally)
