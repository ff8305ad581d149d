"""Every attack on the callee's sidecar is stopped, and every control is the reason: switched off, an attack gets through."""

import http.client

import pytest
from sidecar import Running
from table import CONTROLS, Control

pytestmark = pytest.mark.timeout(60)
IDS = [control.name for control in CONTROLS]


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


def test_plaintext_gets_no_answer(plain) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=5)
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.request("GET", "/v1/models")
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("control", CONTROLS, ids=IDS)
def test_attacks_are_stopped(control: Control, plain, tally) -> None:
    if control.changes:
        with Running(**control.changes) as sidecar:
            _attack(control, sidecar, tally)
    else:
        _attack(control, plain, tally)


def _attack(control: Control, sidecar, tally) -> None:
    before = len(sidecar.backend.seen)
    for name, send in control.attacks:
        answer = send(sidecar)
        assert control.stopped(answer), f"{name}: {answer}"
        tally.stopped[control.name] += 1
    tally.invariant[control.name] = control.invariant
    if control.name != "TLS: no resumption":  # that one asks what is allowed
        assert len(sidecar.backend.seen) == before


@pytest.mark.parametrize("control", CONTROLS, ids=IDS)
def test_without_the_control_an_attack_gets_through(control: Control, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    with Running(**control.changes) as sidecar:
        through = [name for name, send in control.attacks if not control.stopped(send(sidecar))]
    assert through, "the control could be switched off and nobody would notice"
    tally.killed.add(control.name)
