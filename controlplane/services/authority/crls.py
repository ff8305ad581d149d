"""The revocation lists of this replica's CAs: made when they are asked for, of what the store says then. And the root's, as it is.

1. Never older than the newest revocation: each answer begins with a read of the generation. No store, no list.
2. A certificate is listed while its node is shut out, or its epoch is below its node's floor, until some time after its end.
3. Signed again when the generation moved, or a quarter of its life is over.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptography.x509 import ReasonFlags

from certs import crl
from certs.crl import Entry
from certs.issue import IssuingCa
from controlplane import model
from controlplane.model import CertificateRow, NodeRow
from controlplane.services import rows
from controlplane.services.authority import revoked_cas
from controlplane.services.authority.authorities import Authorities
from controlplane.services.identity import certificates
from controlplane.services.rows import Stored
from controlplane.store.base import Store

REASONS = {
    model.REVOKED: ReasonFlags.privilege_withdrawn,
    model.LOCKED: ReasonFlags.key_compromise,
    model.QUARANTINED: ReasonFlags.certificate_hold,
}


@dataclass(frozen=True, slots=True)
class Crl:
    """One signed list; `key_id` names the CA's key, as the authority key identifier of its certificates does."""

    key_id: str
    der: bytes


@dataclass(frozen=True, slots=True)
class _Dead:
    """A certificate that counts no more, and the revision of the row that says so."""

    certificate: CertificateRow
    entry: Entry


class Crls:
    """One per replica: it holds the keys of its own CAs only."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        clock: Callable[[], int],
        cas: Callable[[], Awaitable[Sequence[IssuingCa]]],
    ) -> None:
        """`cas`: those of nodes and workloads whose keys we hold, as long as what they signed may be alive."""
        self._store, self._made, self._clock, self._cas = store, made, clock, cas
        self._known: dict[tuple[str, int], list[_Dead]] = {}
        self._signed: tuple[int, int, list[Crl]] = (-1, 0, [])  # generation, when, what

    async def newest(self) -> list[Crl]:
        """One list for each CA that signs certificates of nodes or workloads, and the root's newest, if it has signed one."""
        root = self._made.now.signing
        of_cas = (await revoked_cas.known(self._store, root)).der
        last = [Crl(certificates.ca_key_id(root).hex(), of_cas)] if of_cas else []
        return [*await self._ours(), *last]

    async def _ours(self) -> list[Crl]:
        now, mesh = self._clock(), await self._store.get(rows.MESH)
        generation, at, signed = self._signed
        if (mesh.revision if mesh else 0) == generation and now - at < crl.LIFETIME_S // 4:
            return signed
        return await self._sign(now)

    async def _sign(self, now: int) -> list[Crl]:
        (mesh, floor_items), _ = await self._store.snapshot((rows.MESH, rows.FLOORS))
        generation = mesh[0].revision if mesh else 0
        floors = [Stored(item.key, model.load(NodeRow, item.value), item.revision) for item in floor_items]
        bad_keys = {item.key for item in (await self._store.list(rows.revoked_key("")))[0]}
        known = {(one.key, one.revision): await self._dead(one, bad_keys) for one in floors}
        self._known = known
        alive = [
            dead
            for found in known.values()
            for dead in found
            if dead.certificate.not_after > now - crl.LIFETIME_S
        ]
        signed = [self._list(ca, alive, generation, now) for ca in await self._cas()]
        self._signed = (generation, now, signed)
        return signed

    async def _dead(self, floor: Stored[NodeRow], bad_keys: set[str]) -> list[_Dead]:
        """Read once for each change of a floor: nothing below it is issued afterwards. In quarantine it is: for renewals."""
        kept = self._known.get((floor.key, floor.revision))
        if kept is not None and floor.row.state != model.QUARANTINED:
            return kept
        issued = await certificates.of_node(self._store, floor.row.spiffe_id)
        return [
            _Dead(
                one,
                Entry(
                    serial=int(one.serial, 16), at=floor.row.floor_at, reason=_why(one, floor.row, bad_keys)
                ),
            )
            for one in issued
            if floor.row.state in model.SHUT_OUT or one.epoch < floor.row.floor
        ]

    def _list(self, ca: IssuingCa, dead: Iterable[_Dead], generation: int, now: int) -> Crl:
        entries = [one.entry for one in dead if one.certificate.key_name == ca.key_name]
        prepared = crl.prepare(ca, entries, generation=generation, now=now)
        der = crl.sign(prepared, self._made.signing(prepared.key_name))
        return Crl(certificates.ca_key_id(ca.certificate).hex(), der)


def _why(certificate: CertificateRow, node: NodeRow, bad_keys: set[str]) -> ReasonFlags:
    if rows.revoked_key(certificate.spki) in bad_keys:
        return ReasonFlags.key_compromise
    return REASONS.get(node.state, ReasonFlags.superseded)
