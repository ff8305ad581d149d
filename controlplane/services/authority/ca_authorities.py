"""Issuing CAs of the replicas: prepare, activate, retire. Each replica has its own, whose keys never leave its signer.

1. A prepared CA is in the trust document and signs nothing. It is activated once every connected agent enforces a
   generation that lists it: no certificate is refused by an agent that has not heard of its CA.
2. The one before stays believed (old) until nothing that it signed can be alive.
3. The root signs. Where its key is, at once, also what other replicas request: each request is signed by the document key of
   its replica, which the root has delegated, so that a removed replica gets nothing. Else the request travels as a file.
"""

import asyncio
import dataclasses
import secrets
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric import ec

from certs import authority, bundle, document_keys, keys, verify
from certs.errors import CertError, KeyFormatError
from certs.issue import IssuingCa
from certs.profile import CA_LIFETIME_S, MAX_LIFETIME_S, CaKind
from controlplane import failpoints, model
from controlplane.authority_rows import CaRow, DelegationRow, ReplicaRow
from controlplane.errors import ConflictError, InvalidError, PreconditionError
from controlplane.services import rows
from controlplane.services.authority import ca_rows, key_names, revoked_cas
from controlplane.services.authority.acknowledged import Acknowledged
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.ca_rows import ACTIVE, OLD, PREPARED, REQUESTED
from controlplane.services.mesh import delegating
from controlplane.services.mesh.replicas import read_delegation
from controlplane.services.rows import Stored
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store

FORCED = {
    CaKind.NODE: "nodes with its certificates must enrol again",
    CaKind.CONTROL_PLANE: "operators with its certificates need others",
    CaKind.WORKLOAD: "workloads with its certificates have none until they have others",
}
MAX_OF_A_KIND = 4  # of one replica
SLACK_S = 60
PROOF = b"writ-ca\n"


class CaAuthorities:
    """One row per CA. A replica issues with the newest active one of each kind that is its own (`ca_rows.issuing`)."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        signer: FileSigner,
        replica: str,
        *,
        acknowledged: Acknowledged,
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        lifetime_s: int = CA_LIFETIME_S,
        grace_s: int = 0,
    ) -> None:
        """`grace_s`: how long after its end a node's certificate still tells who asks."""
        self._store, self._made, self._signer, self._replica = store, made, signer, replica
        self._acknowledged, self._changed, self._clock = acknowledged, changed, clock
        self._lifetime_s, self._grace_s = lifetime_s, grace_s
        self._making = asyncio.Lock()

    @property
    def root_is_here(self) -> bool:
        return self._signer.has(self._made.now.key_name)

    async def begin(self) -> None:
        """Before anything is served: issue with what the store says. CAs that have ended are replaced, if the root is here."""
        ours = await self.ours()
        if not ours:
            return  # never registered: with those that the replica was made with
        await key_names.mark(self._store, self._signer, [one.row.key_name for one in ours])
        self._made.follow(ca_rows.issuing(ours, self._made))
        for kind in CaKind:
            if kind in self._made.without or not self._lasts(self._made.ca(kind).certificate):
                await self._replace_ended(kind)
        self._made.follow(ca_rows.issuing(await self.ours(), self._made))

    async def _replace_ended(self, kind: CaKind) -> None:
        if not self.root_is_here:
            hint = "writ controlplane remove, then join again"
            raise PreconditionError(f"the `{kind.value}` CA of `{self._replica}` has ended", hint=hint)
        made = await self.prepare(kind)
        await self.activate(made.key_id, force=True)  # nobody can act on what we say before a new heartbeat

    async def all(self) -> list[CaRow]:
        return [stored.row for stored in await self.stored()]

    async def stored(self) -> list[Stored[CaRow]]:
        return await rows.every(self._store, CaRow, rows.CA_AUTHORITIES)

    async def ours(self) -> list[Stored[CaRow]]:
        return [stored for stored in await self.stored() if stored.row.replica == self._replica]

    async def signed(self) -> list[IssuingCa]:
        """Our CAs of nodes and workloads, old ones included: what they signed may be alive."""
        return ca_rows.held(
            [one.row for one in await self.ours() if one.row.kind != CaKind.CONTROL_PLANE.value], self._made
        )

    # --- prepare -------------------------------------------------------------------------------------------------

    async def prepare(self, kind: CaKind) -> CaRow:
        """A new CA of this replica: published to all if the root is here, else requested of whoever holds the root."""
        async with self._making:
            ours = [one for one in await self.ours() if one.row.kind == kind.value]
            waiting = next((one for one in ours if one.row.state == REQUESTED), None)
            if waiting is None:
                if len(ours) >= MAX_OF_A_KIND:
                    raise PreconditionError(
                        f"`{self._replica}` has `{MAX_OF_A_KIND}` CAs of this kind already",
                        hint="writ authority retire",
                    )
                waiting = await self._request(kind)
            return await self._sign(waiting) if self.root_is_here else waiting.row

    def request(self, row: CaRow) -> bytes:
        """PKCS#10 for a holder of the root that is elsewhere, DER; only the replica itself can make it."""
        if row.replica != self._replica:
            raise RuntimeError("the key is at another replica")
        return authority.request_issuing_ca(
            CaKind(row.kind), self._made.trust_domain, self._signer.ceremony_key(row.key_name)
        )

    async def install(self, certificate: bytes) -> CaRow:
        """What the root signed of a request, whichever replica's; InvalidError when it is not that."""
        try:
            public = verify.load(certificate).public_key()
            if not isinstance(public, ec.EllipticCurvePublicKey):
                raise InvalidError("the certificate has no P-256 key")
            stored = await self._find(bundle.key_id(public))
            verify.check_issuing_ca(
                certificate, self._made.now.signing, CaKind(stored.row.kind), int(self._clock())
            )
        except CertError as exc:
            raise InvalidError(f"this is not what was requested of the root: {exc}") from exc
        if stored.row.certificate == certificate.hex():
            return stored.row
        if stored.row.state != REQUESTED:
            raise PreconditionError(f"authority `{stored.row.key_id}` has a certificate already")
        return await self._prepared(stored, certificate)

    async def sign_what_is_due(self) -> None:
        """Where the root is: sign what replicas request, and the delegation of document keys before it ends."""
        if not self.root_is_here:
            return
        if await delegating.renew_if_due(self._store, self._made, self._clock):
            await self._changed()
        await revoked_cas.make_if_due(self._store, self._made, int(self._clock()))
        stored = await self.stored()
        for one in stored:
            of_a_kind = [o for o in stored if (o.row.replica, o.row.kind) == (one.row.replica, one.row.kind)]
            if (
                one.row.state == REQUESTED
                and len(of_a_kind) <= MAX_OF_A_KIND
                and await self._is_proven(one.row)
            ):
                await self._sign(one)

    async def _request(self, kind: CaKind) -> Stored[CaRow]:
        name = await key_names.following(self._store, self._signer, f"{kind.value}-ca-")
        public = self._signer.create(name, "p256")
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise RuntimeError("the signer made another kind of key")
        row = CaRow(
            key_id=bundle.key_id(public),
            kind=kind.value,
            replica=self._replica,
            key_name=name,
            public=keys.spki(public).hex(),
            state=REQUESTED,
            since=int(self._clock()),
        )
        proofs = (sign(_proven(row)).hex() for _, sign in self._made.document_signers())
        row = dataclasses.replace(row, proof=" ".join(proofs))
        key = rows.ca_authority_key(row.key_id)
        put = {key: model.dump(row), **key_names.marks(self._signer, (name,))}
        revision = await self._store.commit(expect=dict.fromkeys(put, 0), put=put)
        failpoints.reach("ca.requested")
        return Stored(key, row, revision)

    async def _is_proven(self, row: CaRow) -> bool:
        """Is it by the document key of its replica, and has the root delegated that key?"""
        replica = await rows.find(self._store, ReplicaRow, rows.replica_key(row.replica))
        newest = await rows.find(self._store, DelegationRow, rows.DELEGATION)
        if replica is None or newest is None or row.kind not in {kind.value for kind in CaKind}:
            return False
        document_key = bytes.fromhex(replica.row.document_key)
        if document_key not in read_delegation(newest.row.envelope.encode(), *self._made.roots).keys:
            return False
        try:
            parts = document_keys.parts(document_key)
            proofs = zip(parts, map(bytes.fromhex, row.proof.split()), strict=True)
            return document_keys.signed_by(document_key, document_keys.holding(proofs, _proven(row)))
        except (KeyFormatError, ValueError):
            return False

    async def _sign(self, stored: Stored[CaRow]) -> CaRow:
        made = authority.make_issuing_ca(
            CaKind(stored.row.kind),
            self._made.now.signing,
            self._signer.ceremony_key(self._made.now.key_name),
            bundle.public_key(bytes.fromhex(stored.row.public)),
            serial=secrets.randbits(127) + 1,
            now=int(self._clock()),
            lifetime_s=self._lifetime_s,
        )
        return await self._prepared(stored, made)

    async def _prepared(self, stored: Stored[CaRow], certificate: bytes) -> CaRow:
        row = dataclasses.replace(stored.row, certificate=certificate.hex(), proof="")
        await self._write((Stored(stored.key, row, stored.revision), PREPARED))
        failpoints.reach("ca.prepared")
        await self._changed()
        return dataclasses.replace(row, state=PREPARED)

    # --- activate and retire -------------------------------------------------------------------------------------

    async def activate(self, key_id: str, *, force: bool) -> CaRow:
        """Its replica issues with this CA from now on. PreconditionError names the agents that do not know it yet."""
        chosen = await self._find(key_id)
        if chosen.row.state != PREPARED:
            raise PreconditionError(f"authority `{key_id}` is {chosen.row.state}, not prepared")
        if not self._lasts(bytes.fromhex(chosen.row.certificate)):
            raise PreconditionError(f"authority `{key_id}` has ended", hint="writ authority prepare")
        behind = self._acknowledged.behind(chosen.revision)
        if behind and not force:
            hint = "wait, or --force: what the new CA signs is refused there until they have heard of it"
            raise PreconditionError(f"not known yet to {', '.join(behind[:8])}", hint=hint)
        before = [
            one
            for one in await self.stored()
            if (one.row.replica, one.row.kind, one.row.state) == (chosen.row.replica, chosen.row.kind, ACTIVE)
        ]
        await self._write((chosen, ACTIVE), *((one, OLD) for one in before))
        failpoints.reach("ca.activated")
        await self._changed()
        return (await self._find(key_id)).row

    async def retire(self, key_id: str, *, force: bool) -> CaRow:
        """Believe this CA no more, anywhere. While something that it signed may be alive, only by force: that dies at once."""
        chosen = await self._find(key_id)
        left = self.needed_until(chosen.row) - int(self._clock())
        if chosen.row.state == ACTIVE and not force:
            hint = "prepare and activate another first, or --force"
            raise PreconditionError(f"authority `{key_id}` is active", hint=hint)
        if left > 0 and not force:
            hint = f"wait, or --force: {FORCED[CaKind(chosen.row.kind)]}"
            raise PreconditionError(f"what `{key_id}` signed may live for `{left}` s", hint=hint)
        noted = revoked_cas.noted(chosen.row, int(self._clock()))
        await self._store.commit(
            expect={chosen.key: chosen.revision}, put={rows.MESH: b"{}", **noted}, delete=[chosen.key]
        )
        failpoints.reach("ca.retired")
        await self._changed()
        return chosen.row

    def leaving(self, row: CaRow) -> bool:
        """Below a root that is being replaced?"""
        return ca_rows.is_leaving(row, self._made)

    def needed_until(self, row: CaRow) -> int:
        """Until when something that it signed may be alive: Unix seconds; 0 if it has signed nothing."""
        if row.state in {REQUESTED, PREPARED}:
            return 0
        ends = ca_rows.not_after(row)
        if row.state == ACTIVE:
            return ends
        grace_s = self._grace_s if row.kind == CaKind.NODE.value else 0
        return min(ends, row.since + MAX_LIFETIME_S + SLACK_S) + grace_s

    async def forget_keys(self) -> None:
        """Destroy private keys of CAs of ours that are listed no more."""
        async with self._making:
            listed = {one.row.key_name for one in await self.ours()}
            for name in self._signer.names() - listed:
                if listed and any(name.startswith(f"{kind.value}-ca-") for kind in CaKind):
                    self._signer.destroy(name)

    async def _write(self, *changes: tuple[Stored[CaRow], str]) -> None:
        now = int(self._clock())
        put = {
            stored.key: model.dump(dataclasses.replace(stored.row, state=state, since=now))
            for stored, state in changes
        }
        expect = {stored.key: stored.revision for stored, _ in changes}
        try:
            await self._store.commit(expect=expect, put={**put, rows.MESH: b"{}"})
        except ConflictError as exc:
            raise ConflictError("the CAs were changed meanwhile", hint="writ authority list") from exc

    async def _find(self, key_id: str) -> Stored[CaRow]:
        return await rows.read(
            self._store, CaRow, rows.ca_authority_key(key_id[:64]), f"authority `{key_id[:64]}`"
        )

    def _lasts(self, certificate: bytes) -> bool:
        return verify.load(certificate).not_valid_after_utc.timestamp() > self._clock()


def _proven(row: CaRow) -> bytes:
    return PROOF + model.dump(dataclasses.replace(row, state="", since=0, certificate="", proof=""))
