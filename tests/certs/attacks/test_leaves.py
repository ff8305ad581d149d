"""Leaves that a verifier must refuse although the right CA signed them, and leaves that the wrong one signed."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID
from forge import GPU_1, OU, UNKNOWN, Forged, name_of, usage
from pki import NOW, TD, Pki

from certs import spiffe, verify
from certs.errors import ChainError

PKI = Pki()
OTHER = Pki()  # same names, other keys
FOREIGN = Pki(trust_domain="evil.example")
BC, KU, EKU, SAN = x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName


def refuse(der: bytes, why: str, anchors: list[bytes] | None = None, now: int = NOW) -> None:
    with pytest.raises(ChainError, match=why):
        verify.verify_node(der, [PKI.node_ca] if anchors is None else anchors, TD, now)


def test_the_forger_makes_an_acceptable_leaf_when_nothing_is_changed() -> None:
    """Otherwise the refusals below would prove nothing."""
    found = verify.verify_node(Forged().der(PKI), [PKI.node_ca], TD, NOW)
    assert (found.spiffe_id, found.serial, found.epoch) == (GPU_1, 4711, 1)


@pytest.mark.parametrize(
    ("uris", "why"),
    [
        ([], "`0` URI SANs"),
        ([str(GPU_1), str(GPU_1)], "`2` URI SANs"),
        ([str(GPU_1), "spiffe://acme.example/fr/paris/gpu-2"], "`2` URI SANs"),
        ([str(GPU_1), "https://acme.example/"], "`2` URI SANs"),  # X509-SVID 2: even if only one is spiffe
        (["https://acme.example/fr/paris/gpu-1"], "no SPIFFE ID"),
        (["spiffe://acme.example"], "no SPIFFE ID"),
        (["spiffe://ACME.example/fr/paris/gpu-1"], "no SPIFFE ID"),
        (["spiffe://acme.example/fr/paris/gpu-1/"], "no SPIFFE ID"),
        (["spiffe://acme.example/fr/paris/gpu%2d1"], "no SPIFFE ID"),
        (["spiffe://acme.example:443/fr/paris/gpu-1"], "no SPIFFE ID"),
        (["spiffe://evil.example/fr/paris/gpu-1"], "another trust domain"),
        (["spiffe://acme.example.evil/fr/paris/gpu-1"], "another trust domain"),
        (["spiffe://acme.example/fr/paris/gpu-2"], "subject is not the one"),
        (["spiffe://acme.example/fr/berlin/gpu-1"], "subject is not the one"),
        (["spiffe://acme.example/de/paris/gpu-1"], "subject is not the one"),
        (["spiffe://acme.example/FR/paris/gpu-1"], "is not a node"),
        (["spiffe://acme.example/fr/paris"], "is not a node"),
        (["spiffe://acme.example/fr/paris/gpu-1/worker"], "is not a node"),
        (["spiffe://acme.example/control-plane/replica-1"], "is not a node"),
        (["spiffe://acme.example/control-plane/operator/eve"], "is not a node"),
    ],
)
def test_the_uri_is_one_node_of_ours_and_agrees_with_the_subject(uris, why) -> None:
    refuse(Forged(uris=uris).der(PKI), why)


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        (name_of(epoch="01"), "exactly one epoch"),
        (name_of(epoch="0"), "exactly one epoch"),
        (name_of(epoch="-1"), "exactly one epoch"),
        (name_of(epoch="1a"), "exactly one epoch"),
        (
            name_of(epoch="\uff11", kind=_ASN1Type.UTF8String),
            "exactly one epoch",
        ),  # a digit to str.isdigit, not to anybody else
        (name_of(epoch="9" * 10), "exactly one epoch"),
        (name_of(more=[(NameOID.SERIAL_NUMBER, "9")]), "exactly one epoch"),
        (x509.Name([p for p in name_of() if p.oid != NameOID.SERIAL_NUMBER]), "exactly one epoch"),
        (name_of(more=[(OU, "tier:4")]), "repeated unit `tier:4`"),
        (name_of(more=[(OU, "group:clinical")]), "repeated unit"),
        (name_of(more=[(OU, "class-ceiling:4")]), "repeated unit"),
        (name_of(more=[(OU, "root:yes")]), "unknown or repeated"),
        (name_of(drop="tier", more=[(OU, "tier:02")]), "unknown or repeated"),
        (name_of(drop="tier", more=[(OU, "tier:" + "9" * 5000)]), "unknown or repeated"),
        (name_of(drop="tier", more=[(OU, "tier:5")]), "unknown or repeated"),
        (name_of(drop="tier"), "lacks tier"),
        (name_of(drop="class-"), "lacks tier"),
        (name_of(more=[(OU, "group:a,OU=tier:4")]), "is not 1 to 48"),
        (name_of(more=[(OU, "group:" + "a" * 49)]), "is not 1 to 48"),
        (name_of(more=[(OU, "group:a")]), "subject is not the one"),  # out of order
        (name_of(cn="gpu-2"), "subject is not the one"),
        (name_of(o="evil.example"), "subject is not the one"),
        (name_of(c="DE"), "subject is not the one"),
        (name_of(c="fr"), "subject is not the one"),
        (name_of(more=[(NameOID.COMMON_NAME, "gpu-1")]), "subject is not the one"),
        (name_of(more=[(NameOID.EMAIL_ADDRESS, "a@b")]), "subject is not the one"),
        (x509.Name([]), "exactly one epoch"),
    ],
)
def test_the_subject_is_exactly_what_we_write(subject, why) -> None:
    refuse(Forged(subject=subject).der(PKI), why)


def test_parts_grouped_in_one_rdn_are_not_our_subject() -> None:
    """They compare equal part by part, but Envoy joins them with `+`: no matcher would see what we saw."""
    first, second, *rest = name_of()
    grouped = [x509.RelativeDistinguishedName([first, second])]
    name = x509.Name(grouped + [x509.RelativeDistinguishedName([part]) for part in rest])
    refuse(Forged(subject=name).der(PKI), "subject is not the one")


def test_parts_of_another_string_type_are_not_our_subject() -> None:
    retyped = name_of(kind=_ASN1Type.UTF8String)
    assert list(retyped) == list(name_of())
    refuse(Forged(subject=retyped).der(PKI), "subject is not the one")


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (BC, (BC(ca=True, path_length=0), True), "no identity"),
        (BC, (BC(ca=False, path_length=None), False), "no identity"),
        (BC, None, "lacks BasicConstraints"),
        (KU, None, "lacks KeyUsage"),
        (KU, (usage(digital_signature=True), False), "digitalSignature alone"),
        (KU, (usage(key_encipherment=True), True), "digitalSignature alone"),
        (KU, (usage(digital_signature=True, key_cert_sign=True), True), "digitalSignature alone"),
        (KU, (usage(digital_signature=True, crl_sign=True), True), "digitalSignature alone"),
        (KU, (usage(digital_signature=True, key_agreement=True), True), "digitalSignature alone"),
        (EKU, None, "lacks ExtendedKeyUsage"),
        (EKU, (EKU([Eku.CLIENT_AUTH]), False), "server and client"),
        (EKU, (EKU([Eku.SERVER_AUTH]), False), "server and client"),
        (EKU, (EKU([Eku.ANY_EXTENDED_KEY_USAGE]), False), "server and client"),
        (EKU, (EKU([Eku.SERVER_AUTH, Eku.CLIENT_AUTH, Eku.CODE_SIGNING]), False), "server and client"),
        (SAN, None, "lacks SubjectAlternativeName"),
    ],
)
def test_the_extensions_are_exactly_a_leafs(kind, value, why) -> None:
    refuse(Forged(replace={kind: value}).der(PKI), why)


@pytest.mark.parametrize(
    "value", [UNKNOWN, x509.NameConstraints([x509.DNSName("acme.example")], None), x509.OCSPNoCheck()]
)
def test_an_unknown_critical_extension_refuses_and_an_uncritical_one_does_not(value) -> None:
    refuse(Forged(add=[(value, True)]).der(PKI), "unknown critical")
    if value is UNKNOWN:
        verify.verify_node(Forged(add=[(value, False)]).der(PKI), [PKI.node_ca], TD, NOW)


def test_a_repeated_extension_is_refused() -> None:
    der = Forged(add=[(UNKNOWN, False), (replace_oid(UNKNOWN, 2), False)]).der(PKI)
    doubled = der.replace(bytes.fromhex("2b06010401868d1f02"), bytes.fromhex("2b06010401868d1f01"))
    assert der != doubled
    with pytest.raises(
        ChainError
    ):  # the parser finds it before the signature is looked at, or the signature fails
        verify.verify_node(doubled, [PKI.node_ca], TD, NOW)
    with pytest.raises(ChainError, match="malformed"):
        verify.check_extensions(verify.load(doubled))


def replace_oid(extension: x509.UnrecognizedExtension, last: int) -> x509.UnrecognizedExtension:
    text = extension.oid.dotted_string.rpartition(".")[0]
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{text}.{last}"), extension.value)


@pytest.mark.parametrize(
    "make", [ed25519.Ed25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 2048)]
)
def test_a_key_that_is_not_p256_is_no_identity(make) -> None:
    refuse(Forged(key=make()).der(PKI), "no P-256 key")


def test_neither_another_curve_nor_another_digest_is_accepted() -> None:
    refuse(Forged(key=ec.generate_private_key(ec.SECP384R1())).der(PKI), "no P-256 key")
    refuse(Forged(digest=hashes.SHA384()).der(PKI), "not signed with ECDSA P-256 and SHA-256")
    refuse(
        Forged().der(PKI, issuer_key=rsa.generate_private_key(65537, 2048)), "not signed by the CA it names"
    )


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (NOW - 61, "not valid yet"),
        (NOW - 60, None),
        (NOW + 3599, None),
        (NOW + 3600, "expired"),
        (NOW + 3601, "expired"),
    ],
)
def test_one_second_early_or_late_is_refused(second, why) -> None:
    der = Forged().der(PKI)
    if why is None:
        assert verify.verify_node(der, [PKI.node_ca], TD, second).spiffe_id == GPU_1
    else:
        refuse(der, why, now=second)


def test_grace_forgives_expiry_for_so_long_and_nothing_else() -> None:
    der = Forged().der(PKI)
    late = NOW + 3600 + 99
    assert verify.verify_expired_node(der, [PKI.node_ca], TD, late, grace_s=100).spiffe_id == GPU_1
    for now, leaf, why in (
        (late + 1, der, "expired"),
        (NOW - 61, der, "not valid yet"),
        (late, Forged(uris=[]).der(PKI), "URI SANs"),
        (late, Forged().der(OTHER), "not signed by"),
    ):
        with pytest.raises(ChainError, match=why):
            verify.verify_expired_node(leaf, [PKI.node_ca], TD, now, grace_s=100)


def test_a_leaf_is_refused_once_its_ca_has_expired() -> None:
    ends = NOW + 30 * 86400
    refuse(Forged(lasts=60 * 86400).der(PKI), "expired", now=ends)


def test_only_the_cas_own_key_makes_a_node() -> None:
    refuse(Forged().der(OTHER), "not signed by the CA it names", anchors=[PKI.node_ca])
    refuse(Forged().der(PKI), "not issued by a CA we accept", anchors=[])
    refuse(Forged().der(PKI), "not issued by a CA we accept", anchors=[PKI.node_ca, OTHER.node_ca])
    refuse(PKI.node_ca, "not issued by a CA we accept")
    refuse(PKI.root, "not issued by a CA we accept")


def test_a_chain_cannot_be_stuffed_into_one_leaf() -> None:
    refuse(Forged().der(PKI) + PKI.node_ca, "not a DER certificate")
    refuse(Forged().der(PKI) + b"\x00", "not a DER certificate")


def test_a_node_signs_no_nodes() -> None:
    """A leaf's own key as issuer, offered below its certificate: no chain is built, so it is nobody's CA."""
    node = PKI.node()
    der = Forged().der(PKI, issuer=node.der, issuer_key=node.key)
    refuse(der, "not issued by a CA we accept")
    refuse(der, "CA is not for `node`", anchors=[node.der])


def test_the_root_is_no_anchor_and_a_node_of_the_root_is_nobody() -> None:
    der = Forged().der(PKI, issuer=PKI.root, issuer_key=PKI.root_key)
    refuse(der, "not issued by a CA we accept")
    refuse(der, "CA is not for `node`", anchors=[PKI.root])


def test_the_wrong_kind_of_ca_makes_nobody_even_when_a_caller_offers_it() -> None:
    as_node = Forged().der(PKI, issuer=PKI.cp_ca, issuer_key=PKI.cp_ca_key)
    refuse(as_node, "CA is not for `node`", anchors=[PKI.cp_ca, PKI.node_ca])
    replica = str(spiffe.control_plane_id(TD, "replica-1"))
    as_replica = Forged(uris=[replica]).der(PKI)
    with pytest.raises(ChainError, match="CA is not for `control-plane`"):
        verify.verify_control_plane(as_replica, [PKI.node_ca, PKI.cp_ca], TD, NOW)
    with pytest.raises(ChainError, match="CA is not for `control-plane`"):
        verify.verify_operator(as_replica, [PKI.node_ca], TD, NOW)


def test_each_identity_is_only_its_own_role() -> None:
    operator = spiffe.operator_id(TD, "ada")
    leaves = {
        "node": PKI.node().der,
        "control-plane": PKI.control_plane().der,
        "operator": PKI.control_plane(operator).der,
    }
    roles = {
        "node": verify.verify_node,
        "control-plane": verify.verify_control_plane,
        "operator": verify.verify_operator,
    }
    for name, der in leaves.items():
        for role, check in roles.items():
            anchors = [PKI.node_ca] if role == "node" else [PKI.cp_ca]
            if name == role:
                check(der, anchors, TD, NOW)
                continue
            with pytest.raises(ChainError):
                check(der, anchors, TD, NOW)
            with pytest.raises(ChainError):
                check(der, [PKI.node_ca, PKI.cp_ca], TD, NOW)


def test_another_meshs_ca_cannot_name_our_nodes() -> None:
    """X509-SVID 5: the trust domain of the CA decides, not what the leaf says."""
    der = Forged().der(FOREIGN)
    refuse(der, "another trust domain", anchors=[FOREIGN.node_ca])
    own = FOREIGN.node().der
    refuse(own, "another trust domain", anchors=[PKI.node_ca, FOREIGN.node_ca])


# The library warns of serial numbers below 1 and of odd lengths of names; we refuse both.
@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:Attribute's length")
def test_every_flipped_bit_is_refused_and_nothing_but_our_error_is_raised() -> None:
    der = Forged().der(PKI)
    for at in range(len(der)):
        for bit in (0x01, 0x02, 0x20, 0x80):
            bad = der[:at] + bytes([der[at] ^ bit]) + der[at + 1 :]
            with pytest.raises(ChainError):
                verify.verify_node(bad, [PKI.node_ca], TD, NOW)


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x80\x00\x00", b"\x00" * 100, b"-----BEGIN CERTIFICATE-----", b"\xff" * 16384]
)
def test_garbage_is_refused(der) -> None:
    refuse(der, "not a DER certificate")


def test_size_is_checked_before_parsing() -> None:
    refuse(b"\x30" * 10_000_000, "over the limit")


@pytest.mark.parametrize("version", [0, 1, 7])
def test_other_versions_of_x509_are_refused(version) -> None:
    der = Forged().der(PKI)
    v3 = bytes.fromhex("a003020102")
    refuse(der.replace(v3, v3[:-1] + bytes([version]), 1), "not a DER certificate|not signed by")
