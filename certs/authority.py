"""Root and issuing CAs. Made rarely, so with the library's builder, by whoever holds the root key.

Each generation has a subject of its own, SKI and AKI: verifiers must never have to try several keys for one name.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs import spiffe
from certs.csr import make_csr, public_key_from_csr
from certs.errors import CsrError
from certs.profile import CA_LIFETIME_S, ROOT_LIFETIME_S, CaKind

BACKDATE_S = 60
ROOT_PATH_LENGTH = 2
"""An issuing CA, and before it the next root, cross-certified. Roots of older meshes have 1: they can certify no root."""


def make_root(trust_domain: str, key: ec.EllipticCurvePrivateKey, *, serial: int, now: int) -> bytes:
    """A self-signed root, DER. Its SPIFFE ID has no path: it is no principal."""
    name = _name(spiffe.trust_domain(trust_domain), "root", serial)
    lifetime = now + ROOT_LIFETIME_S
    return _sign(
        _builder(name, name, key.public_key(), serial, now, lifetime, ROOT_PATH_LENGTH, trust_domain),
        key,
        key.public_key(),
    )


def make_cross(
    new: bytes, old: bytes, old_key: ec.EllipticCurvePrivateKey, *, serial: int, now: int
) -> bytes:
    """The root `new` certified by the root `old`, DER: who knows only the old one finds a path to what the new one signs."""
    made, issuer = x509.load_der_x509_certificate(new), x509.load_der_x509_certificate(old)
    public = made.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise RuntimeError("roots hold P-256 keys")
    until = int(min(made.not_valid_after_utc, issuer.not_valid_after_utc).timestamp())
    trust_domain = trust_domain_of(made)
    return _sign(
        _builder(
            made.subject, issuer.subject, public, serial, now, until, ROOT_PATH_LENGTH - 1, trust_domain
        ),
        old_key,
        old_key.public_key(),
    )


def make_issuing_ca(
    kind: CaKind,
    root_der: bytes,
    root_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    *,
    serial: int,
    now: int,
    lifetime_s: int = CA_LIFETIME_S,
) -> bytes:
    """An issuing CA of one kind below the root, DER; pathlen 0."""
    root = x509.load_der_x509_certificate(root_der)
    trust_domain = trust_domain_of(root)
    until = min(now + lifetime_s, int(root.not_valid_after_utc.timestamp()))
    name = _name(trust_domain, kind.value, serial)
    return _sign(
        _builder(name, root.subject, public_key, serial, now, until, 0, trust_domain),
        root_key,
        root_key.public_key(),
    )


def request_issuing_ca(kind: CaKind, trust_domain: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """What the holder of a root that is elsewhere is asked to sign: PKCS#10, DER."""
    return make_csr(key, _name(trust_domain, kind.value, 0))


def read_request(der: bytes, trust_domain: str) -> tuple[CaKind, ec.EllipticCurvePublicKey]:
    """Which kind of CA is asked for, for which key; CsrError when it is not for this trust domain, or proves nothing."""
    key = public_key_from_csr(der)
    name = x509.load_der_x509_csr(der).subject
    for kind in CaKind:
        if name == _name(trust_domain, kind.value, 0):
            return kind, key
    raise CsrError(f"signing request is not for an issuing CA of `{trust_domain}`")


def trust_domain_of(root: x509.Certificate) -> str:
    return str(root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def _name(trust_domain: str, role: str, serial: int) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain, _validate=False),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, f"writ {role} CA {serial % (1 << 32):08x}"),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    now: int,
    not_after: int,
    path_length: int,
    trust_domain: str,
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(now - BACKDATE_S, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _sign(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer_key: ec.EllipticCurvePublicKey
) -> bytes:
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
