"""Is this a root, and does the root before it vouch for it? For the change from one root to the next.

A certificate is accepted as the next root when
1. it names itself as its issuer, is signed by its own key, and encoded as we encode;
2. it is a CA that signs certificates and lists and nothing else, with room for a root and a CA below it, P-256;
3. it names our trust domain, and is known under another name and another key than the root before.
Its cross certificate is accepted when
4. it is signed by the root before, for the same name, key and trust domain as the next root;
5. it is a CA with room for one CA below it, and lives no longer than either.
Roots that were made before there were cross certificates have no room for one: then there must be none.
NOT checked here: whether a root has ended. What an ended root signs is refused where it is used.
"""

from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.authority import ROOT_PATH_LENGTH
from certs.errors import ChainError
from certs.keys import spki
from certs.verify import check_extensions, check_issued, extension, load, p256_key, uris


def check_next(new: bytes, old: bytes, trust_domain: str) -> None:
    """ChainError unless `new` may follow the root `old`, which was believed before."""
    cert, before = load(new), load(old)
    check_issued(cert, cert)  # (1)
    _check_ca(cert, trust_domain, ROOT_PATH_LENGTH)  # (2)
    units = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if [part.value for part in units] != ["root"]:
        raise ChainError("certificate is not of a root")
    if cert.subject == before.subject or _key(cert) == _key(before):  # (3)
        raise ChainError("the next root must have another name and another key")


def check_cross(cross: bytes, new: bytes, old: bytes, trust_domain: str) -> None:
    """ChainError unless `cross` is `new`, certified by `old`; empty, where `old` has no room for it."""
    if not has_room(old):
        if cross:
            raise ChainError("the root before has no room for a root below it")
        return
    cert, made, issuer = load(cross), load(new), load(old)
    check_issued(cert, issuer)  # (4)
    if cert.subject != made.subject or _key(cert) != _key(made):
        raise ChainError("cross certificate is not of the next root")
    _check_ca(cert, trust_domain, ROOT_PATH_LENGTH - 1)  # (5)
    if cert.not_valid_after_utc > min(made.not_valid_after_utc, issuer.not_valid_after_utc):
        raise ChainError("cross certificate outlives a root")


def has_room(root: bytes) -> bool:
    """May this root certify another?"""
    length = extension(load(root), x509.BasicConstraints).value.path_length
    return length is None or length >= ROOT_PATH_LENGTH


def _check_ca(cert: x509.Certificate, trust_domain: str, path_length: int) -> None:
    check_extensions(cert)
    constraints, usage = extension(cert, x509.BasicConstraints), extension(cert, x509.KeyUsage)
    if not constraints.critical or not constraints.value.ca or constraints.value.path_length != path_length:
        raise ChainError(f"a root must be a CA, here with path length {path_length}")
    signs = usage.value.key_cert_sign and usage.value.crl_sign
    if not usage.critical or not signs or usage.value.digital_signature:
        raise ChainError("a root must sign certificates and lists, and nothing else")
    if uris(cert) != [f"spiffe://{trust_domain}"]:
        raise ChainError(f"root is of another trust domain than `{trust_domain}`")


def _key(cert: x509.Certificate) -> bytes:
    return spki(p256_key(cert))
