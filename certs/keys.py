"""Keys, and the one place that names algorithms.

P-256 in X.509: gRPC's and Python's verifiers refuse Ed25519 leaves. Ed25519 for documents, checkpoints and cosignatures;
ML-DSA-65 beside it for documents, where the root says so.
"""

import hashlib
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from certs.errors import KeyFormatError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey
MAX_PEM_BYTES = 16384
ECDSA_SHA256 = ec.ECDSA(
    hashes.SHA256(), deterministic_signing=True
)  # RFC 6979: signing stored bytes again gives the same


def generate_p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def generate_ed25519() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


KINDS: dict[str, Callable[[], PrivateKey]] = {
    "p256": generate_p256,
    "ed25519": generate_ed25519,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate,
}


def generate(kind: str) -> PrivateKey:
    """A key of one of `KINDS`; RuntimeError for another."""
    if kind not in KINDS:
        raise RuntimeError(f"`{kind}` is no kind of key")
    return KINDS[kind]()


def dump_private(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """PKCS#8 PEM, encrypted if there is a passphrase.

    The library's PKCS#8 is PBES2 with few PBKDF2 rounds: the passphrase must be random, not one a person can remember.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase == b"":
        raise KeyFormatError("passphrase is empty")
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def load_private(pem: bytes, passphrase: bytes | None) -> PrivateKey:
    """Read what `dump_private` wrote; KeyFormatError for another kind, a wrong passphrase, or a missing one."""
    if len(pem) > MAX_PEM_BYTES:
        raise KeyFormatError(f"key file of `{len(pem)}` bytes is over the limit of `{MAX_PEM_BYTES}`")
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyFormatError(f"key cannot be read: {exc}") from exc
    if isinstance(key, ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey) or is_p256(key):
        return key  # type: ignore[return-value]  # is_p256 narrowed it
    raise KeyFormatError("key is neither P-256 nor Ed25519 nor ML-DSA-65")


def is_p256(key: object) -> bool:
    kinds = (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)
    return isinstance(key, kinds) and isinstance(key.curve, ec.SECP256R1)


def spki(public_key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def spki_sha256(public_key: PublicKey) -> bytes:
    """What names a key: SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(spki(public_key)).digest()


def raw(public_key: ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey) -> bytes:
    """The bytes of a public key without a frame: 32 of Ed25519, 1952 of ML-DSA-65."""
    return public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def sign(key: PrivateKey, data: bytes) -> bytes:
    """Ed25519 or ML-DSA-65, or DER ECDSA over SHA-256."""
    if isinstance(key, ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey):
        return key.sign(data)
    return key.sign(data, ECDSA_SHA256)
