"""A certificate that was verified a moment ago is found again, and only while everything it was verified by still holds."""

import pytest
from pki import NOW, TD, Pki

from certs.errors import ChainError
from certs.verify import verify_node
from controlplane.rpc import verified
from controlplane.rpc.verified import Verified


class Counting:
    """The real check, counted."""

    def __init__(self) -> None:
        self.calls = 0
        self.verified = Verified(self._verify)

    def _verify(self, shown, anchors, now):
        self.calls += 1
        return verify_node(shown, anchors, TD, now)


def test_the_same_certificate_is_verified_once() -> None:
    pki, look = Pki(), Counting()
    leaf, cas = pki.node().der, (pki.node_ca,)
    found = [look.verified(leaf, cas, NOW + second) for second in range(5)]
    assert (look.calls, {id(one) for one in found}) == (1, {id(found[0])})
    assert found[0] == verify_node(leaf, cas, TD, NOW)


def test_another_certificate_of_the_same_node_is_not_found_for_it() -> None:
    pki, look = Pki(), Counting()
    first, second = (look.verified(pki.node(epoch=epoch).der, (pki.node_ca,), NOW) for epoch in (1, 2))
    assert (first.epoch, second.epoch, look.calls) == (1, 2, 2)


@pytest.mark.parametrize("change", ["a", "z"])
def test_one_byte_more_or_less_is_another_certificate(change) -> None:
    pki, look = Pki(), Counting()
    leaf = pki.node().der
    look.verified(leaf, (pki.node_ca,), NOW)
    with pytest.raises(ChainError):
        look.verified(leaf + b"x" if change == "a" else leaf[:-1], (pki.node_ca,), NOW)


def test_a_ca_that_counts_no_more_takes_what_it_issued_along() -> None:
    pki, other, look = Pki(), Pki(trust_domain="b.example"), Counting()
    leaf = pki.node().der
    look.verified(leaf, (pki.node_ca, other.node_ca), NOW)
    with pytest.raises(ChainError):
        look.verified(leaf, (other.node_ca,), NOW)
    look.verified(leaf, (pki.node_ca, other.node_ca), NOW)
    assert look.calls == 3


@pytest.mark.parametrize("late_s", [-120, 3600, 40 * 86400])
def test_what_has_ended_or_not_begun_is_refused_however_often_it_was_accepted(late_s) -> None:
    pki, look = Pki(), Counting()
    leaf, cas = pki.node().der, (pki.node_ca,)
    look.verified(leaf, cas, NOW)
    for _ in range(2):
        with pytest.raises(ChainError):
            look.verified(leaf, cas, NOW + late_s)


def test_when_one_of_the_cas_has_ended_nothing_is_taken_from_before() -> None:
    early, late, look = Pki(now=NOW - 29 * 86400, trust_domain="b.example"), Pki(), Counting()
    leaf, cas = late.node().der, (early.node_ca, late.node_ca)
    now = verified.first_end(cas)
    for _ in range(3):
        with pytest.raises(ChainError):
            look.verified(leaf, cas, now)
    fresh = Pki(now=now)
    leaf, cas = fresh.node().der, (early.node_ca, fresh.node_ca)
    for _ in range(3):
        look.verified(leaf, cas, now)
    assert look.calls == 6


def test_a_refusal_is_not_kept_and_what_is_kept_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(verified, "MAX", 3)
    pki, stranger, look = Pki(), Pki(), Counting()
    for _ in range(2):
        with pytest.raises(ChainError):
            look.verified(stranger.node().der, (pki.node_ca,), NOW)
    leaves = [pki.node(f"n{number}").der for number in range(5)]
    for leaf in leaves:
        look.verified(leaf, (pki.node_ca,), NOW)
    assert look.calls == 7
    look.verified(leaves[-1], (pki.node_ca,), NOW)
    assert look.calls == 7
    look.verified(leaves[0], (pki.node_ca,), NOW)
    assert look.calls == 8
