"""Issuing certificates: everything that may be signed is stored first, and every retry gets what it got before.

1. The idempotency key decides: same key and public key, same certificate; same key and another public key, refused.
2. One certificate has one follower: another public key from the same predecessor is a copied key, and locks the node.
3. Serial, to-be-signed bytes and the node's row are committed together, compared with what was read.
4. Only then is anything signed. ECDSA is deterministic here: signing the stored bytes again gives the same certificate.
5. What another replica's CA would have to sign again is issued anew by ours, for the same key, and stored as well.
"""

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from certs import issue, template
from certs.keys import spki_sha256
from certs.profile import Profile
from controlplane import failpoints, model
from controlplane.errors import ConflictError, PreconditionError
from controlplane.model import CertificateRow, IssuedRow, NodeRow
from controlplane.services import rows
from controlplane.services.authorities import Authorities
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
        self, store: Store, made: Authorities, profile: Profile, may_issue: Callable[[], None] = lambda: None
    ) -> None:
        """`may_issue` raises while our CA is not to be used."""
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
        if stored.row.key_name != self._made.node_ca.key_name:
            return await self._instead(node, before, public_key, stored.row.epoch, now)
        return Issued(chain=self._sign(bytes.fromhex(stored.row.tbs), stored.row.key_name), fresh=False)

    async def _instead(
        self,
        node: Stored[NodeRow],
        before: Stored[IssuedRow],
        public_key: ec.EllipticCurvePublicKey,
        epoch: int,
        now: int,
    ) -> Issued:
        """A certificate of ours for an answer of another replica that was lost. ConflictError: somebody else was faster."""
        prepared = self._prepare(node.row, epoch, public_key, now)
        serial = f"{prepared.serial:x}"
        becomes = dataclasses.replace(node.row, serial=serial, not_after=prepared.not_after)
        put = {
            node.key: model.dump(becomes),
            rows.certificate_key(serial, prepared.not_after): model.dump(
                _certificate(prepared, epoch, [before.key])
            ),
            before.key: model.dump(
                IssuedRow(serial=serial, spki=before.row.spki, not_after=prepared.not_after)
            ),
        }
        await self._store.commit(expect={node.key: node.revision, before.key: before.revision}, put=put)
        return Issued(chain=self._sign(prepared.tbs, prepared.key_name), fresh=True)

    async def grant(self, wanted: Wanted, now: int) -> Issued:
        """Store, then sign. ConflictError when the node changed meanwhile: read again and decide again."""
        prepared = self._prepare(wanted.becomes, wanted.becomes.epoch, wanted.public_key, now)
        failpoints.reach("issue.prepared")
        await self._store_prepared(wanted, prepared)
        failpoints.reach("issue.stored")
        chain = self._sign(prepared.tbs, prepared.key_name)
        failpoints.reach("issue.signed")
        return Issued(chain=chain, fresh=True)

    def _prepare(
        self, node: NodeRow, epoch: int, public_key: ec.EllipticCurvePublicKey, now: int
    ) -> issue.Prepared:
        self._may_issue()
        return issue.prepare(
            self._profile,
            node.spiffe_id,
            node.attributes,
            epoch,
            public_key=public_key,
            issuer=self._made.node_ca,
            serial=secrets.randbits(127) + 1,
            now=now,
        )

    async def _store_prepared(self, wanted: Wanted, prepared: issue.Prepared) -> None:
        serial, spki = f"{prepared.serial:x}", prepared.spki_sha256.hex()
        spiffe_id = str(prepared.spiffe_id)
        issued = model.dump(IssuedRow(serial=serial, spki=spki, not_after=prepared.not_after))
        becomes = dataclasses.replace(
            wanted.becomes, serial=serial, not_after=prepared.not_after, state=model.ENROLLED
        )
        repeat = rows.idempotency_key(spiffe_id, wanted.idempotency_key)
        expect = {wanted.node.key: wanted.node.revision, repeat: 0, **dict(wanted.expect)}
        put = {
            wanted.node.key: model.dump(becomes),
            repeat: issued,
        }
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

    def _sign(self, tbs: bytes, key_name: str) -> tuple[bytes, bytes]:
        signature = self._made.signer.sign(key_name, tbs)
        return template.certificate(tbs, signature), self._made.node_ca.certificate


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
