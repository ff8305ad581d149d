"""Certificate revocation lists (RFC 5280 5) of one CA, for verifiers that know nothing of Writ.

A list is complete for its CA and is signed by that CA's key. Our own verifiers do not read it: they hold certificates
against floors, which reach them within a second. Which certificates are dead is the caller's to say.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certs import keys
from certs.errors import ChainError
from certs.issue import IssuingCa
from certs.template import certificate
from certs.verify import load

LIFETIME_S = 3600
BACKDATE_S = 60  # as leaves: verifiers have no leeway
TIME_BITS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A dead certificate: since when, and why."""

    serial: int
    at: int
    reason: x509.ReasonFlags


@dataclass(frozen=True, slots=True)
class Prepared:
    """A list that may be signed by the key of its CA."""

    tbs: bytes
    key_name: str


def prepare(
    ca: IssuingCa, entries: Iterable[Entry], *, generation: int, now: int, lifetime_s: int = LIFETIME_S
) -> Prepared:
    """The list of `ca` as of `generation`. Its number rises with generation and time, across restarts and replicas."""
    issuer = load(ca.certificate)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(_time(now - BACKDATE_S))
        .next_update(_time(now + lifetime_s))
        .add_extension(x509.CRLNumber((generation << TIME_BITS) + now), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    for entry in sorted(entries, key=lambda one: one.serial):
        builder = builder.add_revoked_certificate(_revoked(entry))
    # The library signs only with a key in hand, and ours stays in its signer: what a passing key signs is thrown away.
    made = builder.sign(keys.generate_p256(), hashes.SHA256())
    return Prepared(made.tbs_certlist_bytes, ca.key_name)


def sign(prepared: Prepared, signing: Callable[[bytes], bytes]) -> bytes:
    """The list, DER. `signing` is by the key of its CA: around what is signed it has the form of a certificate."""
    return certificate(prepared.tbs, signing(prepared.tbs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a list says."""

    entries: tuple[Entry, ...]
    number: int
    this_update: int
    next_update: int


def read(der: bytes, ca: bytes) -> Listed:
    """A list of this CA (DER); ChainError unless it is one, signed by the CA and made as `prepare` makes them."""
    try:
        found, issuer = x509.load_der_x509_crl(der), load(ca)
        if found.issuer != issuer.subject or not found.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]  # CAs hold P-256 keys
            raise ChainError("revocation list is not signed by its CA")
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        if found.next_update_utc is None:
            raise ChainError("revocation list does not say until when it holds")
        return Listed(
            entries=tuple(map(_entry, found)),
            number=number,
            this_update=int(found.last_update_utc.timestamp()),
            next_update=int(found.next_update_utc.timestamp()),
        )
    except (ValueError, TypeError, x509.ExtensionNotFound) as exc:
        raise ChainError("not a revocation list") from exc


def _entry(revoked: x509.RevokedCertificate) -> Entry:
    return Entry(
        serial=revoked.serial_number,
        at=int(revoked.revocation_date_utc.timestamp()),
        reason=revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason,
    )


def pem(crls: Iterable[bytes]) -> bytes:
    """As servers and `openssl` read several."""
    return b"".join(x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM) for der in crls)


def _revoked(entry: Entry) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(entry.serial)
        .revocation_date(_time(entry.at))
        .add_extension(x509.CRLReason(entry.reason), critical=False)
        .build()
    )


def _time(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
