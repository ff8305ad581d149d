"""X509-SVID: what we issue, looked at with others' eyes, and what our verifier refuses."""

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import workloads
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification
from forge import UNKNOWN, Forged, usage
from pki import CLINICAL, TD, Pki

from agent import identity
from agent.errors import IdentityError
from agent.workload import svids
from certs import authority, bundle, der, keys, spiffe, verify
from certs.errors import ChainError
from certs.profile import CaKind
from controlplane.api.gen import admin_pb2

PKI = Pki()
WEB = spiffe.workload_id(spiffe.node_id(TD, "FR", "paris", "gpu-1"), "web")
URI = x509.UniformResourceIdentifier


def accepts(leaf: Forged, anchors=(PKI.node_ca,), now: int = PKI.now) -> bool:
    try:
        verify.verify_node(leaf.der(PKI), anchors, TD, now)
    except ChainError:
        return False
    return True


@pytest.fixture
def issued(caller) -> list[x509.Certificate]:
    """Leaf, workload CA and root, as the real agent hands them out."""
    svid = caller.svids()[0]
    return [x509.load_der_x509_certificate(one) for one in (*der.split(svid.x509_svid), svid.bundle)]


def of(certificate: x509.Certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def uris(certificate: x509.Certificate) -> list[str]:
    return of(certificate, x509.SubjectAlternativeName).value.get_values_for_type(URI)


def test_x_01_exactly_one_uri_san(issued) -> None:
    names = of(issued[0], x509.SubjectAlternativeName).value
    assert uris(issued[0]) == [f"{workloads.ID}/web"]
    assert names.get_values_for_type(x509.DNSName) == ["web.app-1.paris.demo.example"]
    ours = f"spiffe://{TD}/fr/paris/gpu-1"
    assert accepts(Forged())
    assert not accepts(Forged(uris=[]))
    assert not accepts(Forged(uris=[ours, ours]))
    assert not accepts(Forged(uris=[ours, "https://other"]))


def test_x_02_the_uri_is_a_spiffe_id() -> None:
    for text in (f"https://{TD}/fr/paris/gpu-1", "urn:x", f"spiffe://{TD}/fr/paris/gpu-1?x", ""):
        assert not accepts(Forged(uris=[text])), text


def test_x_03_a_leaf_without_a_path_is_nobody(issued) -> None:
    assert uris(issued[0])[0].removeprefix(workloads.TD_ID) == "/fr/paris/app-1/web"
    assert not accepts(Forged(uris=[f"spiffe://{TD}"]))
    assert not accepts(Forged(uris=[f"spiffe://{TD}/"]))


def test_x_04_the_subject_is_never_empty_and_so_san_is_not_critical(issued) -> None:
    assert len(list(issued[0].subject)) > 3
    assert not of(issued[0], x509.SubjectAlternativeName).critical


def test_x_05_a_leaf_is_no_ca_and_a_ca_no_identity(issued) -> None:
    assert not of(issued[0], x509.BasicConstraints).value.ca
    a_ca = (x509.BasicConstraints(ca=True, path_length=None), True)
    assert not accepts(Forged(replace={x509.BasicConstraints: a_ca}))


def test_x_06_signing_certificates_may_sign(issued) -> None:
    for ca in issued[1:]:
        assert of(ca, x509.BasicConstraints).value.ca
        assert of(ca, x509.BasicConstraints).critical
        assert of(ca, x509.KeyUsage).value.key_cert_sign
        assert of(ca, x509.KeyUsage).critical


def test_x_07_a_signing_certificate_has_no_path(issued) -> None:
    assert [uris(ca) for ca in issued[1:]] == [[workloads.TD_ID], [workloads.TD_ID]]


def test_x_08_signing_certificates_authenticate_nobody(mesh, issued) -> None:
    ca = issued[1].public_bytes(serialization.Encoding.DER)
    root = issued[2].public_bytes(serialization.Encoding.DER)
    for anchors in ([ca], [root]):
        with pytest.raises(ChainError):
            verify.verify_workload(ca, anchors, "demo.example", int(datetime.now(UTC).timestamp()))


def test_x_09_key_usage_is_critical(issued) -> None:
    assert of(issued[0], x509.KeyUsage).critical
    assert not accepts(Forged(replace={x509.KeyUsage: (usage(digital_signature=True), False)}))
    assert not accepts(Forged(replace={x509.KeyUsage: None}))


def test_x_10_a_leaf_signs_digitally_and_nothing_else(issued) -> None:
    assert of(issued[0], x509.KeyUsage).value == usage(digital_signature=True)
    for more in ("key_cert_sign", "crl_sign"):
        bits = usage(**{"digital_signature": True, more: True})
        assert not accepts(Forged(replace={x509.KeyUsage: (bits, True)})), more
    assert not accepts(Forged(replace={x509.KeyUsage: (usage(key_agreement=True), True)}))


def test_x_11_extended_key_usage_is_client_and_server(issued) -> None:
    both = {x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH}
    assert set(of(issued[0], x509.ExtendedKeyUsage).value) == both
    one = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    assert not accepts(Forged(replace={x509.ExtendedKeyUsage: (one, False)}))


def test_x_12_paths_hold_for_our_verifier_and_refuse_what_is_wrong() -> None:
    assert not accepts(Forged(lasts=-1))
    assert not accepts(Forged(starts=60))
    assert not accepts(Forged(add=[(UNKNOWN, True)]))
    assert not accepts(Forged(), now=PKI.now + 31 * 86400)
    stranger = Pki()
    with pytest.raises(ChainError):
        verify.verify_node(Forged().der(PKI, issuer_key=stranger.node_ca_key), [PKI.node_ca], TD, PKI.now)
    below = authority.make_issuing_ca(
        CaKind.NODE, PKI.node_ca, PKI.node_ca_key, stranger.node_ca_key.public_key(), serial=9, now=PKI.now
    )
    with pytest.raises(ChainError):  # path length 0 has nothing below it but leaves
        verify.check_issuing_ca(below, PKI.root, CaKind.NODE, PKI.now)


def test_x_12_paths_hold_for_cryptography(issued) -> None:
    store = verification.Store([issued[2]])
    for build in (lambda b: b.build_client_verifier(), lambda b: b.build_server_verifier(dns(issued[0]))):
        verifier = build(verification.PolicyBuilder().store(store).time(datetime.now(UTC)))
        verifier.verify(issued[0], [issued[1]])
    late = verification.PolicyBuilder().store(store).time(datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(verification.VerificationError):
        late.build_client_verifier().verify(issued[0], [issued[1]])


def test_x_12_paths_hold_for_openssl(issued, tmp_path) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "openssl is part of every image that we build on"
    for name, certificate in zip(("leaf", "ca", "root"), issued, strict=True):
        (tmp_path / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    command = [openssl, "verify", "-x509_strict", "-purpose", "sslclient"]
    chain = ["-CAfile", str(tmp_path / "root"), "-untrusted", str(tmp_path / "ca"), str(tmp_path / "leaf")]
    assert subprocess.run([*command, *chain], capture_output=True, check=False).returncode == 0
    alone = ["-CAfile", str(tmp_path / "root"), str(tmp_path / "leaf")]
    assert subprocess.run([*command, *alone], capture_output=True, check=False).returncode != 0


def test_x_13_a_ca_of_another_trust_domain_signs_nobody_here() -> None:
    other = Pki(trust_domain="other.example")
    forged = Forged().der(other, issuer=other.node_ca)  # says it is ours
    for anchors in ([PKI.node_ca, other.node_ca], [other.node_ca]):
        with pytest.raises(ChainError):
            verify.verify_node(forged, anchors, TD, PKI.now)


def test_x_13_the_agent_takes_no_certificate_of_another_root() -> None:
    node, key = PKI.node(), keys.generate_p256()
    ours = identity.make(node.key, (node.der, PKI.node_ca), PKI.root, PKI.now)
    chain, cas = PKI.workload(WEB, key, CLINICAL), (PKI.workload_ca,)
    assert svids.make(key, chain, PKI.root, cas, ours, "web", PKI.now).spiffe_id == str(WEB)
    for wrong in (
        (key, chain, Pki().root, cas, "web"),
        (key, chain, PKI.root, cas, "db"),
        (key, chain, PKI.root, (), "web"),  # its replica has left the mesh
        (key, (node.der, PKI.node_ca), PKI.root, (PKI.node_ca,), "web"),
        (keys.generate_p256(), chain, PKI.root, cas, "web"),
    ):
        with pytest.raises(IdentityError):
            svids.make(*wrong[:4], ours, wrong[4], PKI.now)


def test_x_14_bundle_entries_of_roots(mesh, issued) -> None:
    document = json.loads(mesh.call("GetBundle", admin_pb2.GetBundleRequest()).document)
    entries = [entry for entry in document["keys"] if entry["use"] == "x509-svid"]
    assert len(entries) == 1
    assert "kid" not in entries[0]
    assert [base64.b64decode(one, validate=True) for one in entries[0]["x5c"]] == [
        issued[2].public_bytes(serialization.Encoding.DER)
    ]


def test_x_15_an_entry_without_a_certificate_is_ignored_and_the_first_counts() -> None:
    one, two = (base64.b64encode(der).decode() for der in (PKI.root, Pki().root))
    entries = [
        {"use": "x509-svid", "kty": "EC"},
        {"use": "x509-svid", "kty": "EC", "x5c": []},
        {"use": "x509-svid", "kty": "EC", "x5c": [one, two]},
    ]
    assert bundle.load(json.dumps({"keys": entries}).encode(), TD).roots == (PKI.root,)


def test_x_16_no_name_constraints(issued) -> None:
    for certificate in issued:
        with pytest.raises(x509.ExtensionNotFound):
            of(certificate, x509.NameConstraints)


def dns(leaf: x509.Certificate) -> x509.DNSName:
    return x509.DNSName(of(leaf, x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)[0])
