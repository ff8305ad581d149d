"""Workloads: which process of a node is which, and what each is given: certificates and JWT-SVIDs.

1. Only a workload that is registered below the calling node; the names are those of its certificate and of the store.
2. Never more than the node has: attributes are cut to the node's, the epoch is the node's.
3. What is signed is stored first, in a commit that compares the node and its registrations with what was read: a
   revocation or a removal in between wins. Without the store nothing is signed.
4. Nothing is signed before this replica's keys may be used: agents know its CAs and its JWT key then.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from certs import issue, jwt_svid, spiffe
from certs.attributes import Attributes, within
from certs.csr import public_key_from_csr
from certs.errors import CertError
from certs.profile import CaKind, Profile
from certs.verify import NodeIdentity
from controlplane import model
from controlplane.errors import (
    BusyError,
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    PreconditionError,
)
from controlplane.model import CertificateRow, FederationRow, IssuedRow, JwtRow, NodeRow, WorkloadsRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.jwt_authorities import JwtAuthorities
from controlplane.services.identity import key_owners
from controlplane.services.rows import Stored
from controlplane.store.base import Store
from policies import workloads as w
from policies.workloads import Workload

T = TypeVar("T")
RETRIES = 5
TOKEN_S = 300
MAX_PER_MINUTE = 600  # for one node: a stolen one must not fill the store
MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """A workload somebody may be given something for, and the revisions that this was decided on."""

    node: Stored[NodeRow]
    registered: Stored[WorkloadsRow]
    workload: Workload

    @property
    def spiffe_id(self) -> spiffe.SpiffeId:
        return spiffe.workload_id(self.node.row.spiffe_id, self.workload.name)

    @property
    def attributes(self) -> Attributes:
        told = self.workload.attributes
        return within(told, self.node.row.attributes) if told else self.node.row.attributes

    @property
    def expect(self) -> dict[str, int]:
        return {self.node.key: self.node.revision, self.registered.key: self.registered.revision}


class Registry:
    """Registrations. One row per node: its revision is their generation."""

    def __init__(self, store: Store, changed: Callable[[], Awaitable[None]]) -> None:
        self._store, self._changed = store, changed

    async def register(self, node: str, site: str, workload: Workload) -> spiffe.SpiffeId:
        """Add or replace one. InvalidError when it is not below its node."""
        row = (await rows.read_node(self._store, node, site)).row
        w.check(workload)
        for name in workload.federates_with:
            await rows.read(
                self._store, FederationRow, rows.federation_key(name), f"federation with `{name[:255]}`"
            )
        told = workload.attributes
        if told is not None and within(told, row.attributes) != told_with_tier(told, row):
            raise InvalidError(f"workload `{workload.name}` would be more than node `{row.short}`")

        def with_it(all_: Sequence[Workload]) -> list[Workload]:
            known = [one.name for one in all_]
            if workload.name not in known:
                return [*all_, workload]
            return [workload if one.name == workload.name else one for one in all_]

        await self._change(node, site, with_it)
        return spiffe.workload_id(row.spiffe_id, workload.name)

    async def remove(self, node: str, site: str, name: str) -> None:
        def without(all_: Sequence[Workload]) -> list[Workload]:
            kept = [one for one in all_ if one.name != name]
            if len(kept) == len(all_):
                raise NotFoundError(f"there is no workload `{name}` on node `{node}.{site}`")
            return kept

        await self._change(node, site, without)

    async def all(self, node: str = "", site: str = "") -> list[tuple[NodeRow, Workload]]:
        found = await rows.every(
            self._store, WorkloadsRow, rows.workloads_key(node, site) if node else rows.WORKLOADS
        )
        return [
            ((await rows.read_node(self._store, stored.row.node, stored.row.site)).row, workload)
            for stored in found
            if not node or (stored.row.node, stored.row.site) == (node, site)
            for workload in parsed(stored.row)
        ]

    async def _change(
        self, node: str, site: str, change: Callable[[Sequence[Workload]], list[Workload]]
    ) -> None:
        for _ in range(RETRIES):
            stored = await read(self._store, node, site)
            before = parsed(stored.row)
            after = w.check_all(change(before))
            if after == before:
                return
            row = WorkloadsRow(node=node, site=site, workloads=[w.dump(one) for one in after])
            try:
                await self._store.commit(
                    expect={stored.key: stored.revision}, put={stored.key: model.dump(row), rows.MESH: b"{}"}
                )
            except ConflictError:
                continue
            await self._changed()
            return
        raise ConflictError(f"the workloads of node `{node}.{site}` keep changing")


class WorkloadSvids:
    """What registered workloads are given."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        jwt_keys: JwtAuthorities,
        profile: Profile,
        *,
        may_issue: Callable[[CaKind], None],
        clock: Callable[[], int],
    ) -> None:
        """`may_issue` raises while our keys are not to be used."""
        self._store, self._made, self._jwt_keys = store, made, jwt_keys
        self._profile, self._may_issue, self._clock = profile, may_issue, clock
        self._given: OrderedDict[str, tuple[int, int]] = OrderedDict()

    async def issue(self, caller: NodeIdentity, name: str, csr: bytes) -> tuple[bytes, bytes]:
        """The chain of a certificate for workload `name` of the calling node, DER."""
        try:
            public_key = public_key_from_csr(csr)
        except CertError as exc:
            raise InvalidError(str(exc)) from exc

        async def once() -> tuple[bytes, bytes]:
            asked, ours = await self._asked(caller, name), self._made.workload_ca
            key = await key_owners.check(self._store, public_key, asked.node.row.short)
            try:
                issue.check_begun(ours, self._clock())
                prepared = issue.prepare_workload(
                    self._profile,
                    asked.spiffe_id,
                    asked.attributes,
                    asked.node.row.epoch,
                    public_key=public_key,
                    issuer=ours,
                    serial=secrets.randbits(127) + 1,
                    now=self._clock(),
                )
            except CertError as exc:
                raise PreconditionError(f"workload `{name}`: {exc}") from exc
            revoked = rows.revoked_key(prepared.spki_sha256.hex())
            seen, claims = key_owners.claim(key, prepared.not_after)
            put = {**_certificate(prepared, asked.node.row.epoch), **claims}
            await self._store.commit(expect={**asked.expect, revoked: 0, **seen}, put=put)
            leaf = issue.sign(prepared, self._made.signing(prepared.key_name))
            return leaf, ours.certificate

        return await self._compared(caller, once)

    async def mint(self, caller: NodeIdentity, name: str, audiences: Sequence[str]) -> tuple[str, int]:
        """(token, when it ends) for workload `name` of the calling node."""

        async def once() -> tuple[str, int]:
            asked = await self._asked(caller, name)
            key = await self._jwt_keys.signing_key()
            try:
                prepared = jwt_svid.prepare(
                    asked.spiffe_id,
                    list(audiences),
                    epoch=asked.node.row.epoch,
                    key_id=key.key_id,
                    token_id=secrets.token_urlsafe(16),
                    lifetime_s=TOKEN_S,
                    now=self._clock(),
                )
            except CertError as exc:
                raise InvalidError(str(exc)) from exc
            row = JwtRow(text=prepared.text, expires_at=prepared.expires_at)
            put = {rows.jwt_key(prepared.expires_at, prepared.token_id): model.dump(row)}
            await self._store.commit(expect=asked.expect, put=put)
            return jwt_svid.sign(prepared, self._made.signing(key.key_name)), prepared.expires_at

        return await self._compared(caller, once)

    async def _asked(self, caller: NodeIdentity, name: str) -> _Asked:
        node = await rows.read_node(self._store, caller.spiffe_id.node, caller.spiffe_id.site)
        if node.row.state != model.ENROLLED or node.row.spiffe_id != caller.spiffe_id:
            raise DeniedError(f"node `{node.row.short}` is {node.row.state}")
        if caller.epoch < node.row.floor:
            raise PreconditionError(f"node `{node.row.short}` must renew first")
        registered = await read(self._store, node.row.node, node.row.site)
        for workload in parsed(registered.row):
            if workload.name == name:
                return _Asked(node, registered, workload)
        raise DeniedError(f"node `{node.row.short}` has no workload `{name[:64]}`")

    async def _compared(self, caller: NodeIdentity, once: Callable[[], Awaitable[T]]) -> T:
        self._may_issue(CaKind.WORKLOAD)  # (4)
        self._count(str(caller.spiffe_id))
        for _ in range(RETRIES):
            try:
                return await once()
            except ConflictError:
                continue  # the node or its registrations changed: decide again
        raise BusyError("the node is being changed; try again")

    def _count(self, node: str) -> None:
        this = self._clock() // 60
        minute, count = self._given.pop(node, (this, 0))
        count = count + 1 if minute == this else 1
        self._given[node] = (this, count)
        if len(self._given) > MAX_COUNTED:
            self._given.popitem(last=False)
        if count > MAX_PER_MINUTE:
            raise BusyError("too many certificates and tokens for one node")


async def read(store: Store, node: str, site: str) -> Stored[WorkloadsRow]:
    """A node's registrations; none have revision 0."""
    key = rows.workloads_key(node, site)
    found = await rows.find(store, WorkloadsRow, key)
    return found or Stored(key, WorkloadsRow(node=node, site=site, workloads=[]), 0)


def parsed(row: WorkloadsRow) -> tuple[Workload, ...]:
    return tuple(w.load(one) for one in row.workloads)


def told_with_tier(told: Attributes, node: NodeRow) -> Attributes:
    """The tier is always the node's: nobody attests a process by another way."""
    return Attributes(
        tier=node.effective_tier,
        groups=told.groups,
        purposes=told.purposes,
        regions=told.regions,
        class_floor=told.class_floor,
        class_ceiling=told.class_ceiling,
    )


def _certificate(prepared: issue.Prepared, epoch: int) -> dict[str, bytes]:
    serial, spki = f"{prepared.serial:x}", prepared.spki_sha256.hex()
    listed = rows.idempotency_key(
        str(prepared.spiffe_id), serial
    )  # so that a revocation of the node finds it
    row = CertificateRow(
        serial=serial,
        spiffe_id=str(prepared.spiffe_id),
        epoch=epoch,
        not_before=prepared.not_before,
        not_after=prepared.not_after,
        spki=spki,
        key_name=prepared.key_name,
        tbs=prepared.tbs.hex(),
        beside=[listed],
    )
    issued = IssuedRow(serial=serial, spki=spki, not_after=prepared.not_after)
    return {rows.certificate_key(serial, prepared.not_after): model.dump(row), listed: model.dump(issued)}
