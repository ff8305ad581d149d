"""Issuing certificates: everything that may be signed is stored first, and every retry gets what it got before.

1. The idempotency key decides: same key and public key, same certificate; same key and another public key, refused.
2. One certificate has one follower: another public key from the same predecessor is a copied key, and locks the node.
3. Serial, to-be-signed bytes and the node's row are committed together, compared with what was read.
4. Only then is anything signed. ECDSA is deterministic here: signing the stored bytes again gives the same certificate.
5. A key that was revoked is never certified again, for nobody, and that of one node for no other: the commit compares both.
6. What another replica's CA would have to sign again is issued anew by ours, for the same key, and stored as well.
"""

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from certs import issue, template
from certs.errors import ProfileError
from certs.issue import IssuingCa
from certs.keys import spki_sha256
from certs.profile import CaKind, Profile
from controlplane import failpoints, model
from controlplane.errors import ConflictError, PreconditionError, UnavailableError
from controlplane.model import CertificateRow, IssuedRow, KeyRow, NodeRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.identity import key_owners
from controlplane.services.rows import Stored
from controlplane.store.base import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A certificate somebody may have: the node as it will be stored, and what must hold in the same commit."""

    node: Stored[NodeRow]
    becomes: NodeRow
    public_key: ec.EllipticCurvePublicKey
    idempotency_key: str
    predecessor: str = ""  # serial of the certificate that is renewed
    key: Stored[KeyRow] | None = None  # whose the public key is; None: nobody's yet, as far as is known
    expect: tuple[tuple[str, int], ...] = ()
    put: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate chain (DER, leaf first) and whether it was made just now."""

    chain: tuple[bytes, bytes]
    fresh: bool


class Issuance:
    """Turns a decision that somebody may have a certificate into the certificate."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        profile: Profile,
        may_issue: Callable[[CaKind], None] = lambda _: None,
    ) -> None:
        """`may_issue` raises while our CA of a kind is not to be used."""
        self._store, self._made, self._profile, self._may_issue = store, made, profile, may_issue

    async def repeat(
        self, node: Stored[NodeRow], idempotency_key: str, public_key: ec.EllipticCurvePublicKey, now: int
    ) -> Issued | None:
        """What this idempotency key was answered before; ConflictError if it was for another public key."""
        key = rows.idempotency_key(str(node.row.spiffe_id), idempotency_key)
        before = await rows.find(self._store, IssuedRow, key)
        if before is None:
            return None
        if before.row.spki != spki_sha256(public_key).hex():
            raise ConflictError("this idempotency key was used with another public key")
        stored = await rows.read(
            self._store,
            CertificateRow,
            rows.certificate_key(before.row.serial, before.row.not_after),
            "certificate",
        )
        ours = self._made.node_ca
        if stored.row.key_name != ours.key_name:  # of another replica, or of ours before this one
            return await self._instead(node, before, public_key, stored.row.epoch, now)
        return Issued(chain=self._sign(bytes.fromhex(stored.row.tbs), ours), fresh=False)

    async def _instead(
        self,
        node: Stored[NodeRow],
        before: Stored[IssuedRow],
        public_key: ec.EllipticCurvePublicKey,
        epoch: int,
        now: int,
    ) -> Issued:
        """A certificate of ours for an answer of another replica that was lost. ConflictError: somebody else was faster."""
        ours = self._made.node_ca
        prepared = self._prepare(ours, node.row, epoch, public_key, now)
        serial = f"{prepared.serial:x}"
        becomes = dataclasses.replace(
            node.row, serial=serial, not_after=prepared.not_after, issuer=ours.key_name
        )
        # It may not be lost at all: a revocation of the node must find it, too.
        lost = f"{before.key}/{before.row.serial}"
        put = {
            node.key: model.dump(becomes),
            rows.certificate_key(serial, prepared.not_after): model.dump(
                _certificate(prepared, epoch, [before.key, lost])
            ),
            before.key: model.dump(
                IssuedRow(serial=serial, spki=before.row.spki, not_after=prepared.not_after)
            ),
            lost: model.dump(before.row),
        }
        revoked = rows.revoked_key(before.row.spki)
        held = await key_owners.check(self._store, public_key, node.row.short)
        seen, claims = key_owners.claim(held, prepared.not_after)
        expect = {node.key: node.revision, before.key: before.revision, revoked: 0, **seen}
        await self._store.commit(expect=expect, put={**put, **claims})
        return Issued(chain=self._sign(prepared.tbs, ours), fresh=True)

    async def grant(self, wanted: Wanted, now: int) -> Issued:
        """Store, then sign. ConflictError when the node changed meanwhile: read again and decide again."""
        ours = self._made.node_ca  # another may be active by the time that this is stored
        prepared = self._prepare(ours, wanted.becomes, wanted.becomes.epoch, wanted.public_key, now)
        failpoints.reach("issue.prepared")
        await self._store_prepared(wanted, prepared)
        failpoints.reach("issue.stored")
        chain = self._sign(prepared.tbs, ours)
        failpoints.reach("issue.signed")
        return Issued(chain=chain, fresh=True)

    def _prepare(
        self, issuer: IssuingCa, node: NodeRow, epoch: int, public_key: ec.EllipticCurvePublicKey, now: int
    ) -> issue.Prepared:
        self._may_issue(CaKind.NODE)
        try:
            issue.check_begun(issuer, now)
            return issue.prepare(
                self._profile,
                node.spiffe_id,
                node.attributes,
                epoch,
                public_key=public_key,
                issuer=issuer,
                serial=secrets.randbits(127) + 1,
                now=now,
            )
        except ProfileError as exc:
            raise UnavailableError(f"this replica cannot issue: {exc}", hint="writ authority list") from exc

    async def _store_prepared(self, wanted: Wanted, prepared: issue.Prepared) -> None:
        serial, spki = f"{prepared.serial:x}", prepared.spki_sha256.hex()
        spiffe_id = str(prepared.spiffe_id)
        issued = model.dump(IssuedRow(serial=serial, spki=spki, not_after=prepared.not_after))
        kept = wanted.becomes.state == model.QUARANTINED  # renewing ends no quarantine
        becomes = dataclasses.replace(
            wanted.becomes,
            serial=serial,
            not_after=prepared.not_after,
            issuer=prepared.key_name,
            state=model.QUARANTINED if kept else model.ENROLLED,
        )
        repeat = rows.idempotency_key(spiffe_id, wanted.idempotency_key)
        revoked = rows.revoked_key(spki)
        held = wanted.key or key_owners.unclaimed(spki, becomes.short)
        seen, claims = key_owners.claim(held, prepared.not_after)
        expect = {wanted.node.key: wanted.node.revision, repeat: 0, revoked: 0, **seen, **dict(wanted.expect)}
        put = {wanted.node.key: model.dump(becomes), repeat: issued, **claims}
        beside = [repeat]
        if wanted.predecessor:
            follower = rows.successor_key(wanted.predecessor)
            expect[follower], put[follower] = 0, issued
            beside.append(follower)
        certificate = model.dump(_certificate(prepared, wanted.becomes.epoch, beside))
        put[rows.certificate_key(serial, prepared.not_after)] = certificate
        await self._store.commit(expect=expect, put={**put, **dict(wanted.put)})

    async def check_only_follower(self, predecessor: str, public_key: ec.EllipticCurvePublicKey) -> None:
        """CloneError if another key already followed this certificate."""
        follower = await rows.find(self._store, IssuedRow, rows.successor_key(predecessor))
        if follower is not None and follower.row.spki != spki_sha256(public_key).hex():
            raise CloneError("two keys renew one certificate: one of them is a copy")

    def _sign(self, tbs: bytes, ca: IssuingCa) -> tuple[bytes, bytes]:
        signature = self._made.signer.sign(ca.key_name, tbs)
        return template.certificate(tbs, signature), ca.certificate


def _certificate(prepared: issue.Prepared, epoch: int, beside: list[str]) -> CertificateRow:
    return CertificateRow(
        serial=f"{prepared.serial:x}",
        spiffe_id=str(prepared.spiffe_id),
        epoch=epoch,
        not_before=prepared.not_before,
        not_after=prepared.not_after,
        spki=prepared.spki_sha256.hex(),
        key_name=prepared.key_name,
        tbs=prepared.tbs.hex(),
        beside=beside,
    )


class CloneError(PreconditionError):
    """A renewal chain forked. The node must be locked: we cannot tell which of the two is the copy."""
