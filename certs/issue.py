"""Issuing, in two steps: `prepare` gives what will be signed, the caller stores it, `sign` signs it.

Only a `Prepared` can be signed, and its serial and bytes are in the store by then: after a crash there is a record of
everything that may have been signed. Signatures come from a callable; the key stays in the signer.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs import template
from certs.attributes import Attributes, subject_der
from certs.errors import ProfileError
from certs.keys import is_p256, spki
from certs.profile import CaKind, Profile
from certs.spiffe import SpiffeId

SERIAL_BITS = 128


@dataclass(frozen=True, slots=True)
class IssuingCa:
    """A CA that signs leaves: its certificate (DER), and the name of its key in the signer."""

    certificate: bytes
    key_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A certificate that may be signed once it is stored."""

    serial: int
    tbs: bytes
    spiffe_id: SpiffeId
    not_before: int
    not_after: int
    spki_sha256: bytes
    key_name: str


def prepare(
    profile: Profile,
    spiffe_id: SpiffeId,
    attributes: Attributes,
    epoch: int,
    *,
    public_key: ec.EllipticCurvePublicKey,
    issuer: IssuingCa,
    serial: int,
    now: int,
) -> Prepared:
    """A node's certificate, ready to be stored and then signed."""
    if not spiffe_id.is_node:
        raise ProfileError(f"`{spiffe_id}` is not a node")
    _check_issuer(issuer, CaKind.NODE, spiffe_id)
    name = subject_der(spiffe_id, epoch, attributes)
    dns = f"{spiffe_id.node}.{spiffe_id.site}.{spiffe_id.trust_domain}"
    return _prepare(profile, spiffe_id, name, dns, public_key, issuer, serial, now)


def prepare_workload(
    profile: Profile,
    spiffe_id: SpiffeId,
    attributes: Attributes,
    epoch: int,
    *,
    public_key: ec.EllipticCurvePublicKey,
    issuer: IssuingCa,
    serial: int,
    now: int,
) -> Prepared:
    """A workload's certificate; `epoch` is its node's."""
    if not spiffe_id.is_workload:
        raise ProfileError(f"`{spiffe_id}` is not a workload")
    _check_issuer(issuer, CaKind.WORKLOAD, spiffe_id)
    dns = f"{spiffe_id.workload}.{spiffe_id.node}.{spiffe_id.site}.{spiffe_id.trust_domain}"
    name = subject_der(spiffe_id, epoch, attributes)
    return _prepare(profile, spiffe_id, name, dns, public_key, issuer, serial, now)


def prepare_control_plane(
    profile: Profile,
    spiffe_id: SpiffeId,
    *,
    public_key: ec.EllipticCurvePublicKey,
    issuer: IssuingCa,
    serial: int,
    now: int,
) -> Prepared:
    """A certificate for a control-plane replica, for an operator, or for the endpoint that serves our bundle."""
    if not (spiffe_id.is_control_plane or spiffe_id.is_operator or spiffe_id.is_federation):
        raise ProfileError(f"`{spiffe_id}` is no control plane, operator or federation endpoint")
    _check_issuer(issuer, CaKind.CONTROL_PLANE, spiffe_id)
    role = "control-plane" if spiffe_id.is_control_plane else spiffe_id.path[1]
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, spiffe_id.path[-1]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, spiffe_id.trust_domain, _validate=False),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        ]
    )
    return _prepare(
        profile,
        spiffe_id,
        name.public_bytes(),
        f"{role}.{spiffe_id.trust_domain}",
        public_key,
        issuer,
        serial,
        now,
    )


def _prepare(
    profile: Profile,
    spiffe_id: SpiffeId,
    name: bytes,
    dns: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: IssuingCa,
    serial: int,
    now: int,
) -> Prepared:
    if not 0 < serial < 1 << SERIAL_BITS:
        raise RuntimeError("serial numbers are 128-bit and positive")
    if not is_p256(public_key):
        raise RuntimeError("only P-256 keys are certified")
    ca, made = _template(issuer.certificate)
    ca_not_after = int(ca.not_valid_after_utc.timestamp())
    not_before, not_after = now - profile.backdate_s, min(now + profile.lifetime_s, ca_not_after)
    if not_after <= now:
        raise ProfileError("the issuing CA has expired")
    san = template.san(str(spiffe_id), dns)
    key = spki(public_key)
    tbs = made.tbs(serial, not_before, not_after, name, key, san)
    return Prepared(
        serial=serial,
        tbs=tbs,
        spiffe_id=spiffe_id,
        not_before=not_before,
        not_after=not_after,
        spki_sha256=hashlib.sha256(key).digest(),
        key_name=issuer.key_name,
    )


@lru_cache(maxsize=16)
def _template(ca: bytes) -> tuple[x509.Certificate, template.Template]:
    loaded = x509.load_der_x509_certificate(ca)
    return loaded, template.Template.of(loaded)


@lru_cache(maxsize=16)
def _signs_for(ca: bytes) -> tuple[list[str | bytes], list[str | bytes]]:
    """(trust domain, kind) as the subject of a CA has them, each exactly once."""
    name = _template(ca)[0].subject
    domain, kind = (
        [part.value for part in name.get_attributes_for_oid(oid)]
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    )
    return domain, kind


def _check_issuer(issuer: IssuingCa, kind: CaKind, spiffe_id: SpiffeId) -> None:
    # Every verifier refuses such a certificate; it must not exist either.
    if _signs_for(issuer.certificate) != ([spiffe_id.trust_domain], [kind.value]):
        raise RuntimeError(f"`{spiffe_id}` is not issued by `{issuer.key_name}`")


def check_begun(issuer: IssuingCa, now: int) -> None:
    """ProfileError by a clock that is before the CA: what it issued would have ended before anybody could believe it."""
    if now < _template(issuer.certificate)[0].not_valid_before_utc.timestamp():
        raise ProfileError("the issuing CA is not valid yet: is the clock right?")


def sign(prepared: Prepared, signature_of: Callable[[bytes], bytes]) -> bytes:
    """The certificate, DER. `signature_of` returns a DER ECDSA signature over SHA-256 of its argument."""
    return template.certificate(prepared.tbs, signature_of(prepared.tbs))
