"""Signing requests: nothing is taken from one but a P-256 key that its holder proved (A5, A6, A8)."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import CLINICAL, NOW, TD, Pki

from certs import issue, keys, spiffe, verify
from certs.csr import MAX_BYTES, make_csr, public_key_from_csr
from certs.errors import CsrError
from certs.profile import Profile

KEY = keys.generate_p256()
GOOD = make_csr(KEY)
PKI = Pki()


def request(key, digest=hashes.SHA256, extensions=(), subject=()) -> bytes:
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, text) for text in subject]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    built = builder.sign(key, digest() if digest else None)
    return built.public_bytes(serialization.Encoding.DER)


def test_a_request_proves_its_key() -> None:
    assert keys.spki(public_key_from_csr(GOOD)) == keys.spki(KEY.public_key())


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (request(rsa.generate_private_key(65537, 1024)), "no P-256 key"),
        (request(rsa.generate_private_key(65537, 2048)), "no P-256 key"),
        (request(ec.generate_private_key(ec.SECP384R1())), "no P-256 key"),
        (request(ec.generate_private_key(ec.SECP224R1())), "no P-256 key"),
        (request(ec.generate_private_key(ec.SECP256K1())), "no P-256 key"),
        (request(ed25519.Ed25519PrivateKey.generate(), digest=None), "no P-256 key"),
        (request(mldsa.MLDSA44PrivateKey.generate(), digest=None), "no P-256 key"),
        (request(KEY, digest=hashes.SHA384), "not signed with ECDSA and SHA-256"),
        (request(KEY, digest=hashes.SHA512), "not signed with ECDSA and SHA-256"),
        (GOOD + b"\x00", "not a DER PKCS#10"),
        (GOOD[:-1], "not a DER PKCS#10"),
        (GOOD + GOOD, "not a DER PKCS#10"),
        (b"", "not a DER PKCS#10"),
        (b"\x30\x80" + GOOD[2:] + b"\x00\x00", "not a DER PKCS#10"),  # BER, indefinite length
        (b"-----BEGIN CERTIFICATE REQUEST-----", "not a DER PKCS#10"),
        (PKI.node_ca, "not a DER PKCS#10"),
        (GOOD.replace(bytes.fromhex("020100"), bytes.fromhex("020101"), 1), "not a DER PKCS#10"),  # version
        (b"\x00" * (MAX_BYTES + 1), "over the limit"),
        (b"\x30" * 10_000_000, "over the limit"),
        (request(KEY, subject=["a" * 60] * 80), "over the limit"),
    ],
)
def test_a_request_that_proves_nothing_is_refused(der, why) -> None:
    with pytest.raises(CsrError, match=why):
        public_key_from_csr(der)


def test_a_key_that_did_not_sign_is_refused() -> None:
    """Somebody else's public key in a request of mine would get a certificate for what I do not hold."""
    other = keys.spki(keys.generate_p256().public_key())
    assert GOOD.count(keys.spki(KEY.public_key())) == 1
    with pytest.raises(CsrError, match="not signed by its own key"):
        public_key_from_csr(GOOD.replace(keys.spki(KEY.public_key()), other))


def test_a_point_off_the_curve_is_refused() -> None:
    spki = keys.spki(KEY.public_key())
    off = spki[:-1] + bytes([spki[-1] ^ 1])
    with pytest.raises(CsrError):
        public_key_from_csr(GOOD.replace(spki, off))


def test_every_flipped_bit_is_refused_or_changes_nothing_that_is_taken() -> None:
    """Only the parameters of the outer algorithm are not covered by the signature; the key always is."""
    for at in range(len(GOOD)):
        for bit in (0x01, 0x20, 0x80):
            bad = GOOD[:at] + bytes([GOOD[at] ^ bit]) + GOOD[at + 1 :]
            try:
                taken = public_key_from_csr(bad)
            except CsrError:
                continue
            assert keys.spki(taken) == keys.spki(KEY.public_key())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_noise_raises_nothing_but_our_error(noise) -> None:
    with pytest.raises(CsrError):
        public_key_from_csr(noise)
    with pytest.raises(CsrError):
        public_key_from_csr(GOOD[:40] + noise)


def test_what_a_request_asks_for_is_not_in_the_certificate() -> None:
    """CA:TRUE, another node's name, a wildcard, an IP: asked for, signed by the asker, and ignored."""
    wanted = [
        x509.BasicConstraints(ca=True, path_length=9),
        x509.SubjectAlternativeName(
            [
                x509.UniformResourceIdentifier(f"spiffe://{TD}/control-plane/replica-1"),
                x509.UniformResourceIdentifier("spiffe://evil.example/fr/paris/gpu-1"),
                x509.DNSName(f"*.{TD}"),
            ]
        ),
    ]
    taken = public_key_from_csr(request(KEY, extensions=wanted, subject=["root"]))
    prepared = issue.prepare(
        Profile(),
        spiffe.node_id(TD, "FR", "paris", "gpu-1"),
        CLINICAL,
        1,
        public_key=taken,
        issuer=issue.IssuingCa(PKI.node_ca, "node-ca"),
        serial=5,
        now=NOW,
    )
    leaf = x509.load_der_x509_certificate(issue.sign(prepared, lambda tbs: keys.sign(PKI.node_ca_key, tbs)))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [
        x509.UniformResourceIdentifier(f"spiffe://{TD}/fr/paris/gpu-1"),
        x509.DNSName(f"gpu-1.paris.{TD}"),
    ]
    found = verify.verify_node(leaf.public_bytes(serialization.Encoding.DER), [PKI.node_ca], TD, NOW)
    assert found.attributes == CLINICAL
