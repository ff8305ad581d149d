"""Who a peer is: what a certificate must be, and every way in which it is not."""

import pytest
from pki import NOW, TD, Pki

from certs import keys, spiffe, verify
from certs.csr import make_csr, public_key_from_csr
from certs.errors import ChainError, SpiffeIdError
from certs.profile import CaKind

PKI = Pki()


def refused(leaf: bytes, match: str, now: int = NOW, anchors=None) -> None:
    with pytest.raises(ChainError, match=match):
        verify.verify_node(leaf, anchors or [PKI.node_ca], TD, now)


def test_time_is_exact() -> None:
    leaf = PKI.node()
    refused(leaf.der, "expired", now=leaf.prepared.not_after)
    refused(leaf.der, "not valid yet", now=leaf.prepared.not_before - 1)
    assert verify.verify_node(leaf.der, [PKI.node_ca], TD, leaf.prepared.not_after - 1)


def test_grace_counts_from_the_end() -> None:
    leaf = PKI.node()
    end = leaf.prepared.not_after
    assert verify.verify_expired_node(leaf.der, [PKI.node_ca], TD, end + 99, grace_s=100)
    with pytest.raises(ChainError, match="expired"):
        verify.verify_expired_node(leaf.der, [PKI.node_ca], TD, end + 100, grace_s=100)


def test_only_the_given_cas_count() -> None:
    refused(Pki().node().der, "not signed by the CA it names")
    refused(PKI.node().der, "not issued by a CA we accept", anchors=[PKI.root])
    refused(PKI.control_plane().der, "not issued by a CA we accept")
    refused(PKI.control_plane().der, "CA is not for `node`", anchors=[PKI.cp_ca])
    refused(PKI.node_ca, "not issued by a CA we accept")


def test_roles_do_not_cross() -> None:
    operator = PKI.control_plane(spiffe.operator_id(TD, "alice"))
    assert str(verify.verify_operator(operator.der, [PKI.cp_ca], TD, NOW)).endswith("/operator/alice")
    for check, leaf, cas in (
        (verify.verify_operator, PKI.node().der, [PKI.node_ca]),
        (verify.verify_control_plane, PKI.node().der, [PKI.node_ca]),
        (verify.verify_control_plane, operator.der, [PKI.cp_ca]),
        (verify.verify_operator, PKI.control_plane().der, [PKI.cp_ca]),
    ):
        with pytest.raises(ChainError):
            check(leaf, cas, TD, NOW)


def test_a_ca_is_for_one_kind() -> None:
    verify.check_issuing_ca(PKI.node_ca, PKI.root, CaKind.NODE, NOW)
    for ca, root, kind in (
        (PKI.node_ca, PKI.root, CaKind.CONTROL_PLANE),
        (PKI.node_ca, Pki().root, CaKind.NODE),
    ):
        with pytest.raises(ChainError):
            verify.check_issuing_ca(ca, root, kind, NOW)


def test_a_bit_flip_anywhere_in_the_signed_part_is_refused() -> None:
    leaf = bytearray(PKI.node().der)
    for at in range(60, len(leaf) - 80, 29):
        leaf[at] ^= 1
        with pytest.raises((ChainError, SpiffeIdError)):
            verify.verify_node(bytes(leaf), [PKI.node_ca], TD, NOW)
        leaf[at] ^= 1


def test_a_request_gives_its_key_and_nothing_else() -> None:
    key = keys.generate_p256()
    assert keys.spki(public_key_from_csr(make_csr(key))) == keys.spki(key.public_key())


def test_a_fourth_segment_is_a_workload() -> None:
    found = spiffe.parse("spiffe://acme.example/fr/paris/gpu-1/trainer")
    assert (found.is_node, found.workload, found.short) == (False, "trainer", "gpu-1.paris")
    assert spiffe.parse("spiffe://10.0.0.1/a").trust_domain == "10.0.0.1"
