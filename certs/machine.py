"""Machine certificates: issued by somebody else's CA, long before us. Who holds one, and what it says.

A chain is accepted when
1. it is short, every certificate in it is small, and its keys are of a kind and size that is quick to verify;
2. it leads to one of the given roots by X.509 path validation, valid now (`cryptography.x509.verification`);
3. its leaf is no CA, may sign, and may authenticate a client.
A machine proves that it is here, now, when it signs what it is asked with the leaf's key, by the one algorithm that goes with
that key: nothing of it is negotiated.
NOT checked: whether its CA has revoked it. An operator revokes the node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.errors import ChainError, KeyFormatError
from certs.verify import load

MAX_CERTIFICATES, MAX_DEPTH = 5, 3
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096  # a modulus of a stranger's choice costs what its length says, cubed
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
CURVES: dict[str, hashes.HashAlgorithm] = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384()}
CLIENT = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
E = TypeVar("E", bound=x509.ExtensionType)
MachineKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
MachinePrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a verified machine certificate says. `key` must still prove that it is held."""

    key: MachineKey
    common_names: tuple[str, ...]
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    not_after: int


def verify(chain: Sequence[bytes], roots: Sequence[bytes], now: int) -> Machine:
    """The machine of `chain` (DER, leaf first), below one of `roots` (DER); ChainError says which check failed."""
    if not 1 <= len(chain) <= MAX_CERTIFICATES:
        raise ChainError(f"a chain is 1 to {MAX_CERTIFICATES} certificates")
    leaf, *others = (load(der) for der in chain)  # (1)
    keys = [_key(cert) for cert in (leaf, *others)]
    _validate(leaf, others, [load(der) for der in roots], now)  # (2)
    _check_leaf(leaf)  # (3)
    return _machine(leaf, keys[0])


def check_signature(key: MachineKey, signature: bytes, data: bytes) -> None:
    """ChainError unless the holder of `key` signed `data`."""
    try:
        match key:
            case rsa.RSAPublicKey():
                key.verify(signature, data, PSS, hashes.SHA256())
            case ec.EllipticCurvePublicKey():
                key.verify(signature, data, ec.ECDSA(CURVES[key.curve.name]))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, data)
    except InvalidSignature as exc:
        raise ChainError("the machine's key did not sign this") from exc


def check_private(key: object) -> MachinePrivateKey:
    """KeyFormatError for a key that no machine certificate may have."""
    match key:
        case rsa.RSAPrivateKey() | ed25519.Ed25519PrivateKey():
            return key
        case ec.EllipticCurvePrivateKey() if key.curve.name in CURVES:
            return key
    raise KeyFormatError("a machine's key is RSA, P-256, P-384 or Ed25519")


def sign(key: MachinePrivateKey, data: bytes) -> bytes:
    """What `check_signature` accepts of this key's holder."""
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(data, PSS, hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            return key.sign(data, ec.ECDSA(CURVES[key.curve.name]))
        case ed25519.Ed25519PrivateKey():
            return key.sign(data)


def _key(cert: x509.Certificate) -> MachineKey:
    try:
        key = cert.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ChainError("certificate has no key that can be read") from exc
    match key:
        case rsa.RSAPublicKey() if (
            MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS and key.public_numbers().e < 1 << 32
        ):
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in CURVES:
            return key
        case ed25519.Ed25519PublicKey():
            return key
    raise ChainError(
        f"keys in a chain are RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, P-256, P-384 or Ed25519"
    )


def _validate(
    leaf: x509.Certificate, others: list[x509.Certificate], roots: list[x509.Certificate], now: int
) -> None:
    # Machines' certificates are of all ages and habits: of the leaf, `_check_leaf` asks what matters here. CAs must be CAs.
    policy = (
        verification.PolicyBuilder()
        .store(verification.Store(roots))
        .time(datetime.fromtimestamp(now, UTC))
        .max_chain_depth(MAX_DEPTH)
        .extension_policies(
            ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
            ee_policy=verification.ExtensionPolicy.permit_all(),
        )
    )
    try:
        policy.build_client_verifier().verify(leaf, others)
    except (verification.VerificationError, ValueError) as exc:
        raise ChainError(f"certificate does not lead to a CA of machines: {str(exc)[:200]}") from exc


def _check_leaf(leaf: x509.Certificate) -> None:
    constraints = _optional(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise ChainError("a CA's certificate is no machine")
    usage = _optional(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise ChainError("the machine's certificate must not sign")
    purposes = _optional(leaf, x509.ExtendedKeyUsage)
    if purposes is not None and not CLIENT & set(purposes):
        raise ChainError("the machine's certificate is not for clients")


def _machine(leaf: x509.Certificate, key: MachineKey) -> Machine:
    names = _optional(leaf, x509.SubjectAlternativeName)
    common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Machine(
        key=key,
        common_names=tuple(str(part.value) for part in common),
        dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        not_after=int(leaf.not_valid_after_utc.timestamp()),
    )


def _optional(cert: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise ChainError("certificate has malformed extensions") from exc
