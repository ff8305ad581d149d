"""Issuing: the template makes what the builder makes, and verifiers of others accept it."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import CLINICAL, NOW, TD, Pki

from certs import issue, keys, renewal, spiffe, template, verify
from certs.attributes import Attributes, from_subject, narrowed, rendered, subject
from certs.errors import ProfileError
from certs.profile import Profile

PKI = Pki()
VALUES = st.from_regex(r"[a-z0-9-]{1,48}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@st.composite
def attribute_sets(draw: st.DrawFn) -> Attributes:
    floor = draw(st.integers(0, 4))
    sets = {name: frozenset(draw(st.lists(VALUES, max_size=4))) for name in ("groups", "purposes", "regions")}
    return Attributes(
        tier=draw(st.integers(0, 4)), class_floor=floor, class_ceiling=draw(st.integers(floor, 4)), **sets
    )


def test_the_rendered_subject_is_what_envoy_shows() -> None:
    name = subject(spiffe.node_id(TD, "FR", "paris", "gpu-1"), 3, CLINICAL)
    assert rendered(name) == (
        "OU=tier:2,OU=region:fr,OU=purpose:treatment,OU=group:clinical,OU=class-floor:1,OU=class-ceiling:3,"
        "C=FR,L=paris,serialNumber=3,O=acme.example,CN=gpu-1"
    )


@settings(max_examples=60, deadline=None)
@given(
    attribute_sets(), LABELS, LABELS, st.integers(1, 10**9 - 1), st.integers(1, 2**127), st.integers(0, 2**33)
)
def test_the_template_makes_the_builders_bytes(attributes, site, node, epoch, serial, now) -> None:
    pki = Pki(now=now + 1_000_000)
    spiffe_id = spiffe.node_id(TD, "DE", site, node)
    key = keys.generate_p256().public_key()
    prepared = issue.prepare(
        Profile(),
        spiffe_id,
        attributes,
        epoch,
        public_key=key,
        issuer=issue.IssuingCa(pki.node_ca, "k"),
        serial=serial,
        now=pki.now,
    )
    ca = x509.load_der_x509_certificate(pki.node_ca)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(spiffe_id, epoch, attributes))
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(prepared.not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(prepared.not_after, UTC))
    )
    for extension, critical in template.leaf_extensions(ca):
        builder = builder.add_extension(extension, critical)
    names = [x509.UniformResourceIdentifier(str(spiffe_id)), x509.DNSName(f"{node}.{site}.{TD}")]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    assert builder.sign(pki.node_ca_key, hashes.SHA256()).tbs_certificate_bytes == prepared.tbs
    assert from_subject(subject(spiffe_id, epoch, attributes), spiffe_id) == (epoch, attributes)


def test_an_issued_certificate_verifies_here_and_with_another_verifier() -> None:
    leaf = PKI.node()
    identity = verify.verify_node(leaf.der, [PKI.node_ca], TD, NOW)
    assert (str(identity.spiffe_id), identity.epoch, identity.attributes) == (
        "spiffe://acme.example/fr/paris/gpu-1",
        1,
        CLINICAL,
    )
    store = Store([x509.load_der_x509_certificate(PKI.root)])
    builder = PolicyBuilder().store(store).time(datetime.fromtimestamp(NOW, UTC))
    cert, ca = (x509.load_der_x509_certificate(der) for der in (leaf.der, PKI.node_ca))
    assert builder.build_client_verifier().verify(cert, [ca]).chain[0] == cert
    assert (
        builder.build_server_verifier(x509.DNSName("gpu-1.paris.acme.example")).verify(cert, [ca])[0] == cert
    )


def test_a_leaf_never_outlives_its_ca() -> None:
    late = Pki()
    late.now = NOW + 30 * 86400 - 100
    assert late.node().prepared.not_after == NOW + 30 * 86400
    late.now = NOW + 30 * 86400
    with pytest.raises(ProfileError, match="expired"):
        late.node()


@pytest.mark.parametrize(
    "change", [{"tier": 5}, {"class_floor": 4}, {"groups": frozenset({"a,b"})}, {"regions": frozenset({""})}]
)
def test_attributes_that_could_confuse_a_matcher_are_refused(change) -> None:
    values = {"tier": 1, "groups": frozenset(), "class_ceiling": 3, **change}
    with pytest.raises(ProfileError):
        Attributes(**values)


@pytest.mark.parametrize(
    ("change", "less"),
    [
        ({}, False),
        ({"tier": 3}, False),
        ({"tier": 1}, True),
        ({"groups": frozenset()}, True),
        ({"groups": frozenset({"clinical", "quarantine"})}, True),
        ({"purposes": frozenset({"research"})}, True),
        ({"regions": frozenset({"de"})}, True),
        ({"regions": frozenset({"fr", "de"})}, False),
        ({"class_ceiling": 2}, True),
        ({"class_ceiling": 4}, False),
        ({"class_floor": 2}, True),
        ({"class_floor": 0}, False),
    ],
)
def test_narrowing_is_noticed(change, less) -> None:
    base = {name: getattr(CLINICAL, name) for name in Attributes.__slots__}
    assert narrowed(CLINICAL, Attributes(**{**base, **change})) is less


def test_renewal_is_at_half_life_give_or_take_a_tenth() -> None:
    assert [renewal.renew_at(0, 1000, jitter) for jitter in (-1.0, 0.0, 1.0)] == [450, 500, 550]
