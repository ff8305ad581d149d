"""Who a peer is, from its certificate alone.

A node's certificate is accepted when
1. it parses, is X.509 v3, and is small;
2. its issuer is one of the given CAs, named and signed: no chain is built, so nothing can be slipped into one; and that
   CA is of the right kind and trust domain, so that a caller who offers the wrong anchors accepts nobody;
3. it is valid now, and signed with ECDSA P-256 and SHA-256;
4. it is a leaf: P-256 key, CA:FALSE, digitalSignature, client and server use, nothing more, nothing unknown critical;
5. it has exactly one URI SAN, a SPIFFE ID of the expected kind in our trust domain;
6. its subject is exactly what that ID and its attributes make.
NOT checked here: whether the node was revoked (floors are in the trust document), and that the peer holds the key
(TLS did that).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from certs.attributes import Attributes, from_subject
from certs.errors import ChainError, ExpiredError, SpiffeIdError
from certs.keys import is_p256, spki_sha256
from certs.profile import CaKind
from certs.spiffe import SpiffeId, parse
from certs.template import LEAF_EXTENDED_USAGE, LEAF_USAGE, certificate

MAX_BYTES = 16384
KNOWN = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}
E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """A verified node, or a workload below one. `epoch` must still be held against the node's floor."""

    spiffe_id: SpiffeId
    epoch: int
    attributes: Attributes
    serial: int
    not_before: int
    not_after: int
    public_key: ec.EllipticCurvePublicKey
    spki_sha256: bytes


def verify_node(leaf: bytes, anchors: Sequence[bytes], trust_domain: str, now: int) -> NodeIdentity:
    """The node of `leaf` (DER), issued by one of `anchors` (DER of node CAs); ChainError says which check failed."""
    return verify_expired_node(leaf, anchors, trust_domain, now, grace_s=0)


def verify_expired_node(
    leaf: bytes, anchors: Sequence[bytes], trust_domain: str, now: int, *, grace_s: int
) -> NodeIdentity:
    """As `verify_node`, but a certificate that ended at most `grace_s` ago still tells who asks."""
    found = _verify_leaf(leaf, anchors, CaKind.NODE, trust_domain, now, grace_s)
    if not found[2].is_node:
        raise ChainError(f"`{found[2]}` is not a node")
    return _identity(*found)


@lru_cache(maxsize=16)
def first_end(anchors: tuple[bytes, ...]) -> int:
    """When the first of these CAs ends: until then, what was verified against them would be again."""
    return min(int(_anchor(der).not_valid_after_utc.timestamp()) for der in anchors)


def verify_workload(leaf: bytes, anchors: Sequence[bytes], trust_domain: str, now: int) -> NodeIdentity:
    """The workload of `leaf`, issued by one of `anchors` (DER of workload CAs); its epoch is its node's."""
    found = _verify_leaf(leaf, anchors, CaKind.WORKLOAD, trust_domain, now, 0)
    if not found[2].is_workload:
        raise ChainError(f"`{found[2]}` is not a workload")
    return _identity(*found)


def _identity(cert: x509.Certificate, key: ec.EllipticCurvePublicKey, spiffe_id: SpiffeId) -> NodeIdentity:
    epoch, attributes = from_subject(cert.subject, spiffe_id)  # (6)
    return NodeIdentity(
        spiffe_id=spiffe_id,
        epoch=epoch,
        attributes=attributes,
        serial=cert.serial_number,
        not_before=int(cert.not_valid_before_utc.timestamp()),
        not_after=int(cert.not_valid_after_utc.timestamp()),
        public_key=key,
        spki_sha256=spki_sha256(key),
    )


def verify_control_plane(leaf: bytes, anchors: Sequence[bytes], trust_domain: str, now: int) -> SpiffeId:
    """The replica of `leaf`, issued by one of `anchors` (control-plane CAs)."""
    _, _, spiffe_id = _verify_leaf(leaf, anchors, CaKind.CONTROL_PLANE, trust_domain, now, 0)
    if not spiffe_id.is_control_plane:
        raise ChainError(f"`{spiffe_id}` is not a control plane")
    return spiffe_id


def verify_operator(leaf: bytes, anchors: Sequence[bytes], trust_domain: str, now: int) -> SpiffeId:
    """The operator of `leaf`, issued by one of `anchors` (control-plane CAs)."""
    _, _, spiffe_id = _verify_leaf(leaf, anchors, CaKind.CONTROL_PLANE, trust_domain, now, 0)
    if not spiffe_id.is_operator:
        raise ChainError(f"`{spiffe_id}` is not an operator")
    return spiffe_id


def load(der: bytes) -> x509.Certificate:
    """Parse one certificate, bounded; nothing is verified."""
    if len(der) > MAX_BYTES:
        raise ChainError(f"certificate of `{len(der)}` bytes is over the limit of `{MAX_BYTES}`")
    try:
        cert = x509.load_der_x509_certificate(der)
        # Parsed when first read: what is malformed must be refused here, not where it is used.
        _ = (cert.issuer, cert.subject, cert.not_valid_before_utc, cert.not_valid_after_utc)
    except (ValueError, x509.InvalidVersion) as exc:
        raise ChainError("not a DER certificate") from exc
    if cert.serial_number <= 0:  # RFC 5280 4.1.2.2; the library only warns
        raise ChainError("serial number is not positive")
    return cert


def check_issuing_ca_of(ca: bytes, roots: Sequence[bytes], kind: CaKind, now: int) -> None:
    """As `check_issuing_ca`, below whichever of these roots the CA names."""
    issuer = load(ca).issuer
    named = [root for root in roots if _anchor(root).subject == issuer]
    if len(named) != 1:
        raise ChainError("CA is not issued by a root we accept")
    check_issuing_ca(ca, named[0], kind, now)


def check_issuing_ca(ca: bytes, root: bytes, kind: CaKind, now: int) -> None:
    """Is `ca` an issuing CA of `kind`, below `root`, in its trust domain, and valid now? `root` was pinned by the caller.

    ExpiredError when all that is wrong is that it has ended.
    """
    cert, anchor = load(ca), load(root)
    check_issued(cert, anchor)
    if uris(anchor) != [f"spiffe://{_check_ca(ca, kind)}"]:
        raise ChainError("CA is of another trust domain than its root")
    _check_time(anchor, now, 0)
    _check_time(cert, now, 0)


def _verify_leaf(
    leaf: bytes, anchors: Sequence[bytes], kind: CaKind, trust_domain: str, now: int, grace_s: int
) -> tuple[x509.Certificate, ec.EllipticCurvePublicKey, SpiffeId]:
    cert = load(leaf)  # (1)
    issuers = [der for der in anchors if _anchor(der).subject == cert.issuer]
    if len(issuers) != 1:  # (2)
        raise ChainError("certificate is not issued by a CA we accept")
    if _check_ca(issuers[0], kind) != trust_domain:
        raise ChainError(f"CA is of another trust domain than `{trust_domain}`")
    issuer = _anchor(issuers[0])
    check_issued(cert, issuer)
    _check_time(issuer, now, grace_s)
    _check_time(cert, now, grace_s)  # (3)
    key = _check_leaf(cert)  # (4)
    return cert, key, _spiffe_id(cert, trust_domain)  # (5)


@lru_cache(maxsize=16)  # callers offer the same few anchors at every call; a refusal is not kept
def _anchor(der: bytes) -> x509.Certificate:
    return load(der)


@lru_cache(maxsize=16)
def _check_ca(der: bytes, kind: CaKind) -> str:
    """The trust domain of an issuing CA of `kind`. Who signed it and when it ends is checked by the caller."""
    cert = _anchor(der)
    check_extensions(cert)
    units = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if [part.value for part in units] != [kind.value]:
        raise ChainError(f"CA is not for `{kind.value}`")
    constraints, usage = extension(cert, x509.BasicConstraints), extension(cert, x509.KeyUsage)
    if not constraints.critical or not constraints.value.ca or constraints.value.path_length != 0:
        raise ChainError("issuing CA must be a CA with path length 0")
    if not usage.critical or not usage.value.key_cert_sign or usage.value.digital_signature:
        raise ChainError("issuing CA must sign certificates and nothing else")
    p256_key(cert)
    match uris(cert):
        case [uri] if uri.startswith("spiffe://") and "/" not in uri.removeprefix("spiffe://"):
            return uri.removeprefix("spiffe://")
    raise ChainError("issuing CA must name its trust domain, and nothing else")


def check_issued(cert: x509.Certificate, ca: x509.Certificate) -> None:
    try:
        if not isinstance(cert.signature_hash_algorithm, hashes.SHA256) or not is_p256(ca.public_key()):
            raise ChainError("certificate is not signed with ECDSA P-256 and SHA-256")
        cert.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ChainError("certificate is not signed by the CA it names") from exc
    # What is around the signed bytes is not signed: without this, unused bits of the signature make a second spelling.
    if certificate(cert.tbs_certificate_bytes, cert.signature) != cert.public_bytes(
        serialization.Encoding.DER
    ):
        raise ChainError("certificate is not encoded as its CA encodes it")


def _check_time(cert: x509.Certificate, now: int, grace_s: int) -> None:
    if now < cert.not_valid_before_utc.timestamp():
        raise ChainError("certificate is not valid yet")
    if now >= cert.not_valid_after_utc.timestamp() + grace_s:
        raise ExpiredError("certificate has expired")


def _check_leaf(cert: x509.Certificate) -> ec.EllipticCurvePublicKey:
    check_extensions(cert)
    constraints, usage = extension(cert, x509.BasicConstraints), extension(cert, x509.KeyUsage)
    if constraints.value.ca or not constraints.critical:
        raise ChainError("a CA's certificate is no identity")
    if not usage.critical or usage.value != LEAF_USAGE:
        raise ChainError("key usage must be critical, and digitalSignature alone")
    if set(extension(cert, x509.ExtendedKeyUsage).value) != set(LEAF_EXTENDED_USAGE):
        raise ChainError("extended key usage must be server and client, and no more")
    return p256_key(cert)


def check_extensions(cert: x509.Certificate) -> None:
    try:
        extensions = cert.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise ChainError("certificate has malformed extensions") from exc
    for one in extensions:
        if one.critical and one.oid not in KNOWN:
            raise ChainError(f"certificate has the unknown critical extension `{one.oid.dotted_string}`")


def p256_key(cert: x509.Certificate) -> ec.EllipticCurvePublicKey:
    try:
        key = cert.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ChainError("certificate has no key that can be read") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        raise ChainError("certificate has no P-256 key")
    return key


def uris(cert: x509.Certificate) -> list[str]:
    names = extension(cert, x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _spiffe_id(cert: x509.Certificate, trust_domain: str) -> SpiffeId:
    names = uris(cert)
    if len(names) != 1:
        raise ChainError(f"certificate has `{len(names)}` URI SANs, exactly one is an identity")
    try:
        found = parse(names[0])
    except SpiffeIdError as exc:
        raise ChainError(f"URI SAN is no SPIFFE ID: {exc}") from exc
    if found.trust_domain != trust_domain:
        raise ChainError(f"`{found}` is of another trust domain than `{trust_domain}`")
    return found


def extension(cert: x509.Certificate, kind: type[E]) -> x509.Extension[E]:
    try:
        return cert.extensions.get_extension_for_class(kind)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as exc:
        raise ChainError(f"certificate lacks {kind.__name__}") from exc
