"""Rows of issuing CAs: their states, the first ones of a replica, and which of them it issues with. Pure.

A row comes from the store: it counts for issuing only if the root signed its certificate and our signer holds its key.
"""

from collections.abc import Iterator, Sequence

from certs import bundle, keys, verify
from certs.errors import CertError
from certs.issue import IssuingCa
from certs.profile import CaKind
from controlplane.authority_rows import CaRow
from controlplane.errors import NotFoundError
from controlplane.services.authority.authorities import Authorities
from controlplane.services.rows import Stored

REQUESTED, PREPARED, ACTIVE, OLD, TAINTED = "requested", "prepared", "active", "old", "tainted"
REISSUE_S = 120


def reissue_within_s(svid_lifetime_s: int) -> int:
    """Within which agents replace what a tainted CA signed, each at a moment of its own."""
    return max(1, min(REISSUE_S, svid_lifetime_s // 10))


def first(made: Authorities, replica: str, now: int) -> Iterator[CaRow]:
    """The CAs that a replica joins with: active, but `issues` of its own row says when they may be used."""
    for kind in CaKind:
        ca = made.ca(kind)
        key = bundle.public_key(keys.spki(verify.load(ca.certificate).public_key()))  # type: ignore[arg-type]  # P-256, ours
        yield CaRow(
            key_id=bundle.key_id(key),
            kind=kind.value,
            replica=replica,
            key_name=ca.key_name,
            public=keys.spki(key).hex(),
            state=ACTIVE,
            since=now,
            certificate=ca.certificate.hex(),
        )


def issuing(mine: Sequence[Stored[CaRow]], made: Authorities) -> list[tuple[CaKind, IssuingCa]]:
    """Those that may issue; of each kind the newest, which is to be used, comes last."""
    active = sorted((one for one in mine if one.row.state == ACTIVE), key=lambda one: one.revision)
    return [
        (CaKind(one.row.kind), IssuingCa(bytes.fromhex(one.row.certificate), one.row.key_name))
        for one in active
        if _held(one.row, made) and _below_root(one.row, made)
    ]


def held(rows: Sequence[CaRow], made: Authorities) -> list[IssuingCa]:
    """Those whose key is ours, and which the root has signed, whatever their state."""
    signed = [row for row in rows if row.certificate and _held(row, made) and _below_root(row, made)]
    return [IssuingCa(bytes.fromhex(row.certificate), row.key_name) for row in signed]


def named_above(row: CaRow, made: Authorities) -> bool:
    """Does its certificate name a root that is believed? Agents refuse a trust document with a CA below another."""
    # Where the root was never changed nobody can have been dropped; whether the signature holds is the issuer's to look.
    return not made.now.changes or any(names(row, root) for root in made.roots)


def is_leaving(row: CaRow, made: Authorities) -> bool:
    """Below a root that signs no more?"""
    return bool(row.certificate and made.now.changes) and not names(row, made.now.signing)


def names(row: CaRow, root: bytes) -> bool:
    """Does its certificate name this root as its issuer?"""
    return verify.load(bytes.fromhex(row.certificate)).issuer == verify.load(root).subject


def not_after(row: CaRow) -> int:
    """Unix seconds; 0 while there is no certificate."""
    if not row.certificate:
        return 0
    return int(verify.load(bytes.fromhex(row.certificate)).not_valid_after_utc.timestamp())


def not_before(row: CaRow) -> int:
    return int(verify.load(bytes.fromhex(row.certificate)).not_valid_before_utc.timestamp())


def _held(row: CaRow, made: Authorities) -> bool:
    try:
        return keys.spki(made.signer.public_key(row.key_name)).hex() == row.public
    except NotFoundError:
        return False


def _below_root(row: CaRow, made: Authorities) -> bool:
    der = bytes.fromhex(row.certificate)
    try:
        verify.check_issuing_ca_of(der, made.roots, CaKind(row.kind), not_before(row))
        return keys.spki(verify.load(der).public_key()).hex() == row.public  # type: ignore[arg-type]  # checked above
    except (CertError, ValueError):
        return False
