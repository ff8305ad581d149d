"""Issuing CAs that no verifier may believe, although the pinned root signed them."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from forge import OU, UNKNOWN, Forged, usage
from pki import NOW, TD, Pki

from certs import authority, keys, verify
from certs.errors import ChainError
from certs.profile import CaKind

PKI = Pki()
OTHER = Pki()  # same names, other keys
BC, KU, EKU = x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage


def test_a_ca_is_checked_below_its_root() -> None:
    for kind, ca in ((CaKind.NODE, PKI.node_ca), (CaKind.CONTROL_PLANE, PKI.cp_ca)):
        verify.check_issuing_ca(ca, PKI.root, kind, NOW)
    bad = [
        (PKI.node_ca, PKI.root, CaKind.CONTROL_PLANE, NOW, "not for `control-plane`"),
        (PKI.cp_ca, PKI.root, CaKind.NODE, NOW, "not for `node`"),
        (PKI.root, PKI.root, CaKind.NODE, NOW, "not for `node`"),
        (PKI.node_ca, OTHER.root, CaKind.NODE, NOW, "not signed by"),
        (PKI.node_ca, PKI.root, CaKind.NODE, NOW - 61, "not valid yet"),
        (PKI.node_ca, PKI.root, CaKind.NODE, NOW + 30 * 86400, "expired"),
        (PKI.node_ca, PKI.root, CaKind.NODE, NOW + 11 * 365 * 86400, "expired"),
        (PKI.node().der, PKI.root, CaKind.NODE, NOW, "not signed by"),
        (b"", PKI.root, CaKind.NODE, NOW, "not a DER"),
    ]
    for ca, root, kind, now, why in bad:
        with pytest.raises(ChainError, match=why):
            verify.check_issuing_ca(ca, root, kind, now)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({BC: (BC(ca=True, path_length=1), True)}, "path length 0"),
        ({BC: (BC(ca=True, path_length=None), True)}, "path length 0"),
        ({BC: (BC(ca=True, path_length=0), False)}, "path length 0"),
        ({BC: (BC(ca=False, path_length=None), True)}, "path length 0"),
        ({KU: (usage(key_cert_sign=True, digital_signature=True), True)}, "nothing else"),
        ({KU: (usage(digital_signature=True), True)}, "nothing else"),
        ({KU: (usage(key_cert_sign=True), False)}, "nothing else"),
    ],
)
def test_a_ca_that_could_do_more_is_no_issuing_ca(change, why) -> None:
    der = replace(issuing_ca(), replace=issuing_ca().replace | change).der(PKI, PKI.root, PKI.root_key)
    with pytest.raises(ChainError, match=why):
        verify.check_issuing_ca(der, PKI.root, CaKind.NODE, NOW)


def issuing_ca() -> Forged:
    """A node CA by hand, as the authority makes it."""
    ou = [x509.NameAttribute(OU, "node"), x509.NameAttribute(NameOID.COMMON_NAME, "made by hand")]
    ours = {BC: (BC(ca=True, path_length=0), True), KU: (usage(key_cert_sign=True), True), EKU: None}
    return Forged(uris=[f"spiffe://{TD}"], subject=x509.Name(ou), replace=ours)


def test_a_ca_names_one_role_one_trust_domain_and_has_a_p256_key() -> None:
    good = issuing_ca()
    verify.check_issuing_ca(good.der(PKI, PKI.root, PKI.root_key), PKI.root, CaKind.NODE, NOW)
    both = x509.Name([*good.subject, x509.NameAttribute(OU, "control-plane")])
    for bad, why in (
        (replace(good, subject=both), "not for `node`"),
        (replace(good, uris=["spiffe://evil.example"]), "another trust domain"),
        (replace(good, uris=[f"spiffe://{TD}/fr"]), "name its trust domain"),
        (replace(good, uris=[f"spiffe://{TD}", f"spiffe://{TD}"]), "name its trust domain"),
        (replace(good, uris=[]), "name its trust domain"),
        (replace(good, key=ed25519.Ed25519PrivateKey.generate()), "no P-256 key"),
        (replace(good, add=[(UNKNOWN, True)]), "unknown critical"),
    ):
        der = bad.der(PKI, PKI.root, PKI.root_key)
        with pytest.raises(ChainError, match=why):
            verify.check_issuing_ca(der, PKI.root, CaKind.NODE, NOW)


def test_each_generation_of_a_ca_has_a_name_of_its_own() -> None:
    """Two CAs of one name would make a verifier guess which signed."""
    made = [
        x509.load_der_x509_certificate(
            authority.make_issuing_ca(
                CaKind.NODE, PKI.root, PKI.root_key, keys.generate_p256().public_key(), serial=serial, now=NOW
            )
        ).subject
        for serial in (7, 8)
    ]
    assert made[0] != made[1]


# The library warns of serial numbers below 1 and of odd lengths of names; we refuse both.
@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:Attribute's length")
def test_every_flipped_bit_of_a_ca_is_refused_and_nothing_but_our_error_is_raised() -> None:
    """At first contact a CA comes from whoever answers: it is the least trusted input there is."""
    der = PKI.cp_ca
    for at in range(len(der)):
        for bit in (0x01, 0x02, 0x20, 0x80):
            bad = der[:at] + bytes([der[at] ^ bit]) + der[at + 1 :]
            with pytest.raises(ChainError):
                verify.check_issuing_ca(bad, PKI.root, CaKind.CONTROL_PLANE, NOW)
