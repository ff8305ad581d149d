"""To-be-signed bytes of a node's certificate, assembled from what does not change.

The x509 builder costs most of an issuance. All leaves of one CA share issuer, algorithm, key usage, EKU and AKI: a
template encodes those once, the rest per leaf. A test compares the result with the builder's, byte for byte.
"""

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import der

ECDSA_WITH_SHA256 = der.sequence(bytes.fromhex("06082a8648ce3d040302"))
OID_SKI, OID_SAN = bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d11")
OID_BC, OID_KU = bytes.fromhex("0603551d13"), bytes.fromhex("0603551d0f")
OID_EKU, OID_AKI = bytes.fromhex("0603551d25"), bytes.fromhex("0603551d23")
POINT_BYTES = 65  # an uncompressed point of P-256: what an SPKI ends with
CRITICAL = b"\x01\x01\xff"
LEAF_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
LEAF_EXTENDED_USAGE = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)


@dataclass(frozen=True, slots=True)
class Template:
    """The constant parts for one issuing CA."""

    issuer: bytes
    constant_extensions: bytes

    @classmethod
    def of(cls, ca: x509.Certificate) -> "Template":
        return cls(ca.subject.public_bytes(), _constant_extensions(ca))

    def tbs(
        self,
        serial: int,
        not_before: int,
        not_after: int,
        subject: bytes,
        spki: bytes,
        san: bytes,
    ) -> bytes:
        """TBSCertificate of one leaf. `subject`, `spki` and `san` are DER, the key P-256; times are Unix seconds."""
        ski = der.sequence(OID_SKI, der.octets(der.octets(_identifier(spki[-POINT_BYTES:]))))
        extensions = der.sequence(self.constant_extensions, der.sequence(OID_SAN, der.octets(san)), ski)
        return der.sequence(
            der.tlv(0xA0, der.integer(2)),  # v3
            der.integer(serial),
            ECDSA_WITH_SHA256,
            self.issuer,
            der.sequence(der.time(not_before), der.time(not_after)),
            subject,
            spki,
            der.tlv(0xA3, extensions),
        )


def certificate(tbs: bytes, signature: bytes) -> bytes:
    """The whole certificate, DER."""
    return der.sequence(tbs, ECDSA_WITH_SHA256, der.bits(signature))


def san(uri: str, dns: str) -> bytes:
    """SubjectAltName of one URI and one DNS name, DER."""
    return der.sequence(der.tlv(0x86, uri.encode()), der.tlv(0x82, dns.encode()))


def key_identifier(key: ec.EllipticCurvePublicKey) -> bytes:
    """RFC 5280 4.2.1.2 (1): SHA-1 of the key's bits. A name, not a protection."""
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return _identifier(point)


def _identifier(point: bytes) -> bytes:
    return hashlib.sha1(point, usedforsecurity=False).digest()


def leaf_extensions(ca: x509.Certificate) -> list[tuple[x509.ExtensionType, bool]]:
    """The extensions all leaves of `ca` share, in order, with their criticality."""
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (LEAF_USAGE, True),
        (LEAF_EXTENDED_USAGE, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ]


def _constant_extensions(ca: x509.Certificate) -> bytes:
    oids = (OID_BC, OID_KU, OID_EKU, OID_AKI)
    return b"".join(
        der.sequence(oid, CRITICAL if critical else b"", der.octets(value.public_bytes()))
        for oid, (value, critical) in zip(oids, leaf_extensions(ca), strict=True)
    )
