"""Certificates that were issued, found by what they are: by serial, key or issuing CA, and all of one node.

Only those that may still be believed, and for a while those that have ended: they may still renew within the grace.
"""

from collections.abc import AsyncIterator, Sequence

from certs import verify
from certs.errors import CertError
from certs.profile import MAX_LIFETIME_S
from certs.spiffe import SpiffeId, parse
from certs.template import key_identifier
from controlplane import model
from controlplane.errors import CorruptError
from controlplane.model import CertificateRow, IssuedRow
from controlplane.services import rows
from controlplane.store.base import Store

KEPT_HOURS = 49  # as long as `housekeeping` keeps them at least, and the hour before
AHEAD_HOURS = MAX_LIFETIME_S // 3600 + 1


async def every(store: Store, now: int) -> AsyncIterator[CertificateRow]:
    """All that are kept, read hour by hour: there may be many."""
    for hour in _hours(now):
        found, _ = await store.list(rows.certificates_of(hour))
        for item in found:
            yield model.load(CertificateRow, item.value)


async def by_serial(store: Store, serial: str, now: int) -> CertificateRow | None:
    """`serial` in lower-case hex, without leading zeros."""
    for hour in _hours(now):
        found = await rows.find(store, CertificateRow, rows.certificate_key(serial, hour * 3600))
        if found is not None:
            return found.row
    return None


async def of_node(store: Store, node: SpiffeId) -> list[CertificateRow]:
    """A node's own and those of its workloads."""
    listed = await rows.every(store, IssuedRow, rows.issued_to(str(node)))
    found = [
        await rows.find(store, CertificateRow, rows.certificate_key(one.row.serial, one.row.not_after))
        for one in listed
    ]
    return [one.row for one in found if one is not None]


def node_of(certificate: CertificateRow) -> str:
    """`<node>.<site>` of the node that holds it, or that the workload which holds it is below."""
    return parse(certificate.spiffe_id).short


def issued_by(certificate: CertificateRow, ca_key_id: bytes) -> bool:
    """Its authority key identifier stands in what was signed; 20 bytes that are nowhere else by chance."""
    return ca_key_id in bytes.fromhex(certificate.tbs)


def ca_key_id(ca: bytes) -> bytes:
    """What names a CA's key in the certificates that it signed."""
    try:
        key = verify.load(ca).public_key()
        return key_identifier(key)  # type: ignore[arg-type]  # our CAs hold P-256 keys
    except CertError as exc:
        raise CorruptError("a CA in the store is no certificate") from exc


def _hours(now: int) -> Sequence[int]:
    """Those that matter most first: certificates in use, then the ended ones."""
    this = rows.hour(now)
    return [*range(this, this + AHEAD_HOURS + 1), *range(this - 1, this - KEPT_HOURS, -1)]
