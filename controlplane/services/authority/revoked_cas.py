"""Issuing CAs that count no more before their end, and the list of them that the root signs.

1. A CA leaves the mesh and is noted as revoked in one commit: nobody here believes it, and nobody elsewhere has to.
2. The list is made where the root is: by a replica that holds it, within seconds, else by a ceremony (`mesh.root_again`).
3. What a list has named stays named until no CA of that time can live: whoever asks for the next one cannot leave it out.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cryptography.x509 import ReasonFlags

from certs import crl, verify
from certs.crl import Entry, Listed
from certs.errors import CertError
from certs.issue import IssuingCa
from controlplane import model
from controlplane.authority_rows import CaRow, JwtKeyRow, RevokedCaRow, RootCrlRow
from controlplane.errors import CorruptError
from controlplane.services import rows
from controlplane.services.authority import ca_rows
from controlplane.services.authority.authorities import Authorities
from controlplane.store.base import Store

LIFETIME_S = 90 * 86_400  # of a list that a replica makes by itself, at half of it the next
LONGEST_CA_S = 366 * 86_400  # as `writ root sign --days` allows
COMPROMISED, REPLACED, REMOVED = "key_compromise", "superseded", "cessation_of_operation"
REASONS = frozenset({COMPROMISED, REPLACED, REMOVED})


def noted(row: CaRow | JwtKeyRow, now: int, reason: str = "") -> Mapping[str, bytes]:
    """What the commit that takes a CA out also writes; nothing for one that the root has not signed, or that has ended.

    `reason`: if it is not that another does its work.
    """
    if isinstance(row, JwtKeyRow):
        return {}
    ends = ca_rows.not_after(row)
    if ends <= now:
        return {}
    serial = f"{verify.load(bytes.fromhex(row.certificate)).serial_number:x}"
    made = RevokedCaRow(
        serial=serial, kind=row.kind, replica=row.replica, at=now, not_after=ends, reason=reason or _why(row)
    )
    return {rows.revoked_ca_key(serial): model.dump(made)}


def _why(row: CaRow) -> str:
    return COMPROMISED if row.state == ca_rows.TAINTED else REPLACED


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is to be listed, and the root's newest list (DER; none: empty), with the revision that it was read at."""

    revoked: tuple[RevokedCaRow, ...]
    der: bytes
    revision: int
    generation: int


async def known(store: Store, root: bytes) -> Known:
    """A list of another root than this one counts as none: the CAs below that are not believed either."""
    lists, _ = await store.snapshot((rows.REVOKED_CAS, rows.ROOT_CRL, rows.MESH))
    revoked, newest, mesh = lists
    der = bytes.fromhex(model.load(RootCrlRow, newest[0].value).der) if newest else b""
    try:
        crl.read(der, root)
    except CertError:
        der = b""
    return Known(
        revoked=tuple(model.load(RevokedCaRow, item.value) for item in revoked),
        der=der,
        revision=newest[0].revision if newest else 0,
        generation=mesh[0].revision if mesh else 0,
    )


def read(der: bytes, root: bytes) -> Listed:
    """CorruptError unless the root signed it."""
    try:
        return crl.read(der, root)
    except CertError as exc:
        raise CorruptError(f"the list of revoked CAs is not the root's: {exc}") from exc


def make(
    root: bytes,
    sign: Callable[[bytes], bytes],
    revoked: Iterable[RevokedCaRow],
    before: Iterable[bytes],
    *,
    generation: int,
    now: int,
    lifetime_s: int = LIFETIME_S,
) -> bytes:
    """The next list (DER), after those of `before`. `sign` is by the root's key."""
    entries = {
        int(row.serial, 16): Entry(serial=int(row.serial, 16), at=row.at, reason=ReasonFlags[row.reason])
        for row in revoked
    }
    for der in before:
        kept = (one for one in read(der, root).entries if one.at + LONGEST_CA_S > now)
        entries = {**entries, **{one.serial: one for one in kept}}
    prepared = crl.prepare(
        IssuingCa(root, "root"), entries.values(), generation=generation, now=now, lifetime_s=lifetime_s
    )
    return crl.sign(prepared, sign)


async def make_if_due(store: Store, made: Authorities, now: int) -> bool:
    """Where the root is: when the list does not name all, or half of its life is over. ConflictError: somebody else was faster."""
    root = made.now.signing
    has = await known(store, root)
    if has.der and not is_due(has, root, now):
        return False
    der = make(
        root,
        made.signing(made.now.key_name),
        has.revoked,
        [has.der] if has.der else [],
        generation=has.generation,
        now=now,
    )
    await store.commit(
        expect={rows.ROOT_CRL: has.revision}, put={rows.ROOT_CRL: model.dump(RootCrlRow(der=der.hex()))}
    )
    return True


def is_due(has: Known, root: bytes, now: int) -> bool:
    listed = read(has.der, root)
    missing = {int(row.serial, 16) for row in has.revoked} - {one.serial for one in listed.entries}
    return bool(missing) or now > (listed.this_update + listed.next_update) // 2
