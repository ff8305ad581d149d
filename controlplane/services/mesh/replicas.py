"""Equal control planes: who they are, whose CAs and document keys count, and when a newcomer's keys may be used.

Each replica has keys of its own below the one root; a row in the store tells the others their public halves. All rows
together are what the trust document lists. Losing a replica is removing one row.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from certs import envelope
from certs.errors import EnvelopeError
from certs.profile import CaKind
from controlplane import model
from controlplane.authority_rows import CaRow, DelegationRow, JwtKeyRow, ReplicaRow, WitnessKeyRow
from controlplane.errors import ConflictError, CorruptError, ExistsError, PreconditionError, UnavailableError
from controlplane.services import rows
from controlplane.services.authority import ca_rows, key_names
from controlplane.services.authority.authorities import Authorities
from controlplane.services.push.hub import Hub
from controlplane.services.rows import Stored
from controlplane.store.base import Item, Store
from policies import documents as d
from policies import payloads
from policies.errors import DocumentError
from policies.roots import Roots

log = structlog.get_logger()
RETRIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Whom to believe now: CAs (DER) and JWT keys of all replicas, and the newest delegation of document keys."""

    node_cas: tuple[bytes, ...]
    control_plane_cas: tuple[bytes, ...]
    workload_cas: tuple[bytes, ...]
    jwt_keys: tuple[bytes, ...]
    delegation: bytes
    root_changes: tuple[bytes, ...] = ()
    """How the mesh came to its present root, for whoever knows an earlier one: DSSE, oldest first."""
    tainted: tuple[bytes, ...] = ()
    """CAs (DER) that are still believed, and whose certificates are to be replaced now."""


def alone(made: Authorities) -> Anchors:
    """What one replica knows before it has read the store."""
    return Anchors(
        node_cas=(made.node_ca.certificate,),
        control_plane_cas=(made.control_plane_ca.certificate,),
        workload_cas=(made.workload_ca.certificate,),
        jwt_keys=(),
        delegation=made.delegation,
        root_changes=made.now.changes,
    )


def anchors(
    replicas: Sequence[Stored[ReplicaRow]],
    cas: Sequence[Stored[CaRow]],
    jwt_keys: Sequence[Stored[JwtKeyRow]],
    delegation: Sequence[Item],
    made: Authorities,
) -> Anchors:
    """The same bytes for everybody who read the same rows: they come in key order. A CA or key counts as long as its replica."""
    newest = (
        model.load(DelegationRow, delegation[0].value).envelope.encode() if delegation else made.delegation
    )
    read_delegation(newest, *made.roots)  # a row is no proof: the root's signature is
    names = {stored.row.name for stored in replicas}
    listed = [stored.row for stored in cas if stored.row.replica in names and stored.row.certificate]
    listed = [row for row in listed if ca_rows.named_above(row, made)]

    def of(*kinds: CaKind, tainted: bool = False) -> tuple[bytes, ...]:
        wanted = {kind.value for kind in kinds}
        chosen = (
            row for row in listed if row.kind in wanted and (row.state == ca_rows.TAINTED or not tainted)
        )
        return tuple(bytes.fromhex(row.certificate) for row in chosen)

    return Anchors(
        node_cas=of(CaKind.NODE),
        control_plane_cas=of(CaKind.CONTROL_PLANE),
        workload_cas=of(CaKind.WORKLOAD),
        tainted=of(*CaKind, tainted=True),
        jwt_keys=tuple(bytes.fromhex(one.row.public) for one in jwt_keys if one.row.replica in names),
        delegation=newest,
        root_changes=made.now.changes,
    )


def read_delegation(data: bytes, *believed: bytes) -> d.Delegation:
    """CorruptError unless one of these roots signed it."""
    try:
        parsed = envelope.parse(data, payloads.MAX_DOCUMENT_BYTES[d.TYPE_DELEGATION])
        return payloads.load_delegation(Roots(believed).signed(parsed, d.TYPE_DELEGATION)[1])
    except (EnvelopeError, DocumentError) as exc:
        raise CorruptError(f"the delegation of document keys is not signed by the root: {exc}") from exc


def is_signed(delegation: bytes, *believed: bytes) -> bool:
    """By one of these roots: what another has signed ends with it."""
    try:
        read_delegation(delegation, *believed)
    except CorruptError:
        return False
    return True


class Replicas:
    """This replica among the others."""

    def __init__(self, store: Store, made: Authorities, name: str, *, clock: Callable[[], float]) -> None:
        self._store, self._made, self.name, self._clock = store, made, name, clock
        self.issues = False

    async def all(self) -> list[Stored[ReplicaRow]]:
        return await rows.every(self._store, ReplicaRow, "replica/")

    async def register(self, address: str, *, witness: bytes | None) -> None:
        """Take our place. The first one in an empty store may issue at once; others wait for `activate`.

        `witness`: the private key that all replicas cosign with, for a store that seals; None where there is one replica.
        """
        for _ in range(RETRIES):
            try:
                return await self._register(address, witness)
            except ConflictError:
                continue
        raise UnavailableError("too many replicas join at once")

    async def _register(self, address: str, witness: bytes | None) -> None:
        known = await self.all()
        mine = next((stored for stored in known if stored.row.name == self.name), None)
        wanted = self._row(address, first=not known)
        self._check_same_mesh(known, mine, wanted)
        put: dict[str, bytes] = {}
        expect: dict[str, int] = {}
        if mine is None or mine.row.address != address:
            row = wanted if mine is None else replace(mine.row, address=address)
            key = rows.replica_key(self.name)
            put[key], expect[key] = model.dump(row), mine.revision if mine else 0
        if mine is None:
            for first in ca_rows.first(self._made, self.name, int(self._clock())):
                key = rows.ca_authority_key(first.key_id)
                put[key], expect[key] = model.dump(first), 0
                put.update(key_names.marks(self._made.signer, (first.key_name,)))
        await self._delegation(put, expect)
        if witness is not None and await self._store.get(rows.WITNESS_KEY) is None:
            put[rows.WITNESS_KEY] = model.dump(WitnessKeyRow(private=witness.decode()))
            expect[rows.WITNESS_KEY] = 0
        if put:
            await self._store.commit(expect=expect, put={**put, rows.MESH: b"{}"})
        self.issues = mine.row.issues if mine else wanted.issues

    def _row(self, address: str, *, first: bool) -> ReplicaRow:
        made = self._made
        return ReplicaRow(
            name=self.name,
            root=made.root.hex(),
            document_key=made.document_key.hex(),
            address=address,
            issues=first,
            since=int(self._clock()),
        )

    def _check_same_mesh(
        self, known: Sequence[Stored[ReplicaRow]], mine: Stored[ReplicaRow] | None, wanted: ReplicaRow
    ) -> None:
        if any(stored.row.root != wanted.root for stored in known):
            hint = "state_dir and the store are of different meshes"
            raise CorruptError("the store belongs to a mesh with another root", hint=hint)
        if mine is not None and mine.row.document_key != wanted.document_key:
            hint = "give replica.name another value, or `writ controlplane remove` the old one"
            raise ExistsError(f"there is a replica `{self.name}` with other keys", hint=hint)

    async def _delegation(self, put: dict[str, bytes], expect: dict[str, int]) -> None:
        """The newer of ours and the stored one must name our document key."""
        stored = await rows.find(self._store, DelegationRow, rows.DELEGATION)
        ours = read_delegation(self._made.delegation, *self._made.now.ever)
        if stored is None or ours.version > stored.row.version:
            read_delegation(
                self._made.delegation, *self._made.roots
            )  # one by a root that has gone must not replace it
            row = DelegationRow(version=ours.version, envelope=self._made.delegation.decode())
            put[rows.DELEGATION], expect[rows.DELEGATION] = model.dump(row), stored.revision if stored else 0
            return
        newest = read_delegation(stored.row.envelope.encode(), *self._made.roots)
        if self._made.document_key not in newest.keys:
            hint = "others were admitted or removed since: `writ controlplane join` again"
            raise PreconditionError(
                f"the root has not delegated the document key of `{self.name}`", hint=hint
            )

    async def activate(self, hub: Hub, generation: int, linked: Callable[[], bool], lease_s: int) -> None:
        """Wait until nobody can meet what our keys signed without knowing them, then say so in our row.

        Every connected agent enforces a generation that lists our CAs and first JWT key; or a lease has passed, after
        which whoever has not heard of them acts on nothing.
        """
        if self.issues:
            return

        def acknowledged() -> bool:
            return linked() and all(agent.generation >= generation for agent in hub.connected())

        try:
            async with asyncio.timeout(lease_s):
                await hub.until(acknowledged)
        except TimeoutError:
            log.warning("ca_activated_after_lease", replica=self.name)
        await self._activated()

    async def _activated(self) -> None:
        while not self.issues:
            mine = await rows.read(
                self._store, ReplicaRow, rows.replica_key(self.name), f"replica `{self.name}`"
            )
            try:
                await self._store.commit(
                    expect={mine.key: mine.revision},
                    put={mine.key: model.dump(replace(mine.row, issues=True))},
                )
            except ConflictError:
                continue
            self.issues = True
            log.info("ca_activated", replica=self.name)

    def check_issues(self, *kinds: CaKind) -> None:
        """UnavailableError while agents may not know our CAs and JWT key, or none of these kinds is ours to issue with."""
        if not self.issues:
            hint = "agents have not acknowledged its CAs yet; another replica issues meanwhile"
            raise UnavailableError(f"replica `{self.name}` does not issue yet", hint=hint)
        for kind in kinds:
            self._made.check_issues(kind)
