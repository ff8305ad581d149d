"""Signing requests. Only the public key is taken: subject, SANs and extensions of a request mean nothing here."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.errors import CsrError
from certs.keys import ECDSA_SHA256, is_p256

MAX_BYTES = 4096


def make_csr(key: ec.EllipticCurvePrivateKey, subject: x509.Name | None = None) -> bytes:
    """A request that proves possession of `key`; DER. A subject is for people to read, and for the holder of a root."""
    name = subject or x509.Name([])
    built = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.DER)


def public_key_from_csr(der: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key whose holder made this request; CsrError when it proves nothing."""
    if len(der) > MAX_BYTES:  # before parsing: size is the cheapest attack
        raise CsrError(f"signing request of `{len(der)}` bytes is over the limit of `{MAX_BYTES}`")
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        algorithm = request.signature_hash_algorithm
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as exc:
        raise CsrError("signing request is not a DER PKCS#10 structure") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        raise CsrError("signing request has no P-256 key")
    if not isinstance(algorithm, hashes.SHA256):
        raise CsrError("signing request is not signed with ECDSA and SHA-256")
    try:
        key.verify(request.signature, request.tbs_certrequest_bytes, ECDSA_SHA256)
    except InvalidSignature as exc:
        raise CsrError("signing request is not signed by its own key") from exc
    return key
