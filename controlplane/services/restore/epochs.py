"""A new epoch: what an operator opens over a store that was put back, so that the mesh may go on from there.

1. Generations begin above everything that was ever signed: an agent never accepts an older document, and never has to.
2. Nothing that was revoked since comes back: what an agent still holds of the newer state is merged, and only ever narrows.
   Floors rise, CAs and JWT keys that are gone stay gone, the newer delegation of document keys counts.
3. Join tokens and approvals are forgotten: one that was used since would be good again.
What cannot be known is left to the operator: policies applied since, nodes invited since, operators removed since.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from certs import spiffe
from certs.errors import CertError
from controlplane import model
from controlplane.authority_rows import CaRow, DelegationRow, JwtKeyRow, ReplicaRow, RootChangeRow
from controlplane.errors import InvalidError, PreconditionError, RolledBackError
from controlplane.model import EpochRow, NodeRow, RestoredRow
from controlplane.services import rows
from controlplane.services.authority import standing
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh.replicas import is_signed, read_delegation
from controlplane.services.restore.mark import EPOCH_BITS, Mark
from controlplane.store.base import MAX_COMMIT_BYTES, MAX_OPERATIONS, Store
from policies import documents as d
from policies.errors import DocumentError
from policies.roots import Roots
from policies.trusted import TrustedDocuments

LAST = 1 << 53  # integers above are not the same in every JSON reader
SINCE = "revoked after the backup that this store comes from"
Put = Mapping[str, bytes]


class Advances(Store, Protocol):
    """A store that can begin to count anew."""

    async def advance(self, revision: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an agent holds of the newer state: verified."""

    delegation: bytes
    trust: d.TrustDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What was taken over from an agent."""

    narrowed: tuple[str, ...] = ()  # SPIFFE IDs
    dropped: tuple[str, ...] = ()  # replicas
    policy: int = 0  # in force then; 0: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A new epoch; for the operator."""

    number: int
    generation: int
    policy: int  # in force now
    merged: Merged


async def check(store: Store, mark: Mark) -> None:
    """RolledBackError when this store may not be served from, CorruptError when it holds what we do not write.

    Before anything is written.
    """
    found = await rows.find(store, RestoredRow, rows.RESTORED)
    if found is not None:
        what = "was restored from a backup" if found.row.whole else "holds a part of a backup only"
        raise RolledBackError(f"the store {what}, and no new epoch was opened")
    mesh = await store.get(rows.MESH)
    mark.check(mesh.revision if mesh else 0, mark.generation)
    await rows.check(store)


async def restore(store: Store, taken_at: int, revision: int, found: Put) -> None:
    """Write every row of a backup into an empty store, which is then refused until `begin`."""
    if (await store.list(""))[0]:
        raise PreconditionError("the store is not empty", hint="move the old one away first")
    await _mark_restored(store, RestoredRow(taken_at=taken_at, revision=revision, whole=False))
    for batch in _batches({key: value for key, value in found.items() if key != rows.RESTORED}):
        await store.commit(expect=dict.fromkeys(batch, 0), put=batch)
    await _mark_restored(store, RestoredRow(taken_at=taken_at, revision=revision, whole=True))


async def _mark_restored(store: Store, row: RestoredRow) -> None:
    await store.commit(expect={}, put={rows.RESTORED: model.dump(row)})


def verified(delegation: bytes, trust: bytes, made: Authorities, now: int) -> Told:
    """Documents from an agent's disk, if the root's delegates signed them; InvalidError if not."""
    nobody = str(spiffe.node_id(made.trust_domain, "XX", "nowhere", "nobody"))
    documents = TrustedDocuments(root=Roots(made.roots), trust_domain=made.trust_domain, node=nobody)
    try:
        documents.update_delegation(delegation, now)
        return Told(delegation=delegation, trust=documents.update_trust(trust, now))
    except DocumentError as exc:
        raise InvalidError(f"these are no documents of this mesh: {exc}") from exc


async def begin(store: Advances, mark: Mark, told: Sequence[Told], made: Authorities, now: int) -> Opened:
    """Open a new epoch. May be repeated when it was interrupted: until the end the store stays refused."""
    restored = await rows.find(store, RestoredRow, rows.RESTORED)
    if restored is not None and not restored.row.whole:
        raise RolledBackError("the store holds a part of a backup only: restore again, into an empty one")
    mesh, revision = await store.list(rows.MESH)
    known = restored.row.revision if restored else max((item.revision for item in mesh), default=0)
    number = _next([revision, mark.generation, *(one.trust.generation for one in told)])
    newest = max(told, key=lambda one: one.trust.generation, default=None)
    newer = (
        newest is not None and newest.trust.generation > known
    )  # an older one takes away what came after it
    changes = await _root_changes(store, newest if newer else None, made)
    merged = await _merge(store, newest, made) if newest is not None and newer else Merged()
    if changes:
        await store.commit(expect={}, put=changes)
    await store.advance(number << EPOCH_BITS)
    for used in (await store.snapshot([rows.TOKENS, rows.APPROVALS]))[0]:
        await _delete(store, [item.key for item in used])
    put = {rows.EPOCH: model.dump(EpochRow(number=number, opened_at=now)), rows.MESH: b"{}"}
    generation = await store.commit(expect={}, put=put, delete=[rows.RESTORED])
    mark.reach(generation)
    policy = (await rows.policy_state(store)).row
    return Opened(number=number, generation=generation, policy=policy.now, merged=merged)


async def _root_changes(store: Store, told: Told | None, made: Authorities) -> Put:
    """What this replica saw of changes of the root, and the store has lost: agents do not take them back."""
    stored = [one.row for one in await rows.every(store, RootChangeRow, rows.ROOT_CHANGES)]
    seen = [row for row in made.root_changes if row.state != standing.PREPARED]
    if standing.rank(seen) <= standing.rank(stored):
        return {}
    newest = await rows.read(store, DelegationRow, rows.DELEGATION, "delegation")
    known = [newest.row.envelope.encode(), *([told.delegation] if told else [])]
    if not any(is_signed(one, *made.roots) for one in known):
        hint = "--agent DIR: of an agent that follows the new root"
        raise PreconditionError("this state is from before the root was changed", hint=hint)
    return {rows.root_change_key(row.version): model.dump(row) for row in seen}


def _next(generations: Sequence[int]) -> int:
    """The first epoch that none of these belongs to."""
    number = (max(generations) >> EPOCH_BITS) + 1
    if number << EPOCH_BITS >= LAST:
        raise PreconditionError("there are no epochs left", hint="make a new mesh")
    return number


async def _merge(store: Store, told: Told, made: Authorities) -> Merged:
    """Take over of the newer state whatever narrows."""
    nodes = {str(one.row.spiffe_id): one.row for one in await rows.every(store, NodeRow, "node/")}
    narrowed = {
        name: row
        for name, floor in told.trust.floors.items()
        if (row := _narrowed(nodes.get(name) or _unknown(name), floor)) != nodes.get(name)
    }
    put = {key: model.dump(row) for row in narrowed.values() for key in _node_keys(row)}
    put |= await _newer_delegation(store, told.delegation, made)
    state = (await rows.policy_state(store)).row
    latest = max(state.latest, told.trust.policy_now)  # a number stands for one content for ever
    put[rows.POLICY] = model.dump(replace(state, latest=latest))
    for batch in _batches(put):
        await store.commit(expect={}, put=batch)
    dropped = await _drop_keys(store, told, made)
    return Merged(narrowed=tuple(sorted(narrowed)), dropped=dropped, policy=told.trust.policy_now)


async def _drop_keys(store: Store, told: Told, made: Authorities) -> tuple[str, ...]:
    """Replicas whose document keys are delegated no more, and CAs and JWT keys that agents believe no more; their names."""
    delegated, trust = read_delegation(told.delegation, *made.now.ever).keys, told.trust
    known = await rows.every(store, ReplicaRow, "replica/")
    gone = [one for one in known if bytes.fromhex(one.row.document_key) not in delegated]
    names = {one.row.name for one in gone}
    believed = {*trust.node_cas, *trust.control_plane_cas, *trust.workload_cas}
    cas = [
        one.key
        for one in await rows.every(store, CaRow, rows.CA_AUTHORITIES)
        if one.row.replica in names
        or (one.row.certificate and bytes.fromhex(one.row.certificate) not in believed)
    ]
    jwt_keys = [
        one.key
        for one in await rows.every(store, JwtKeyRow, rows.JWT_AUTHORITIES)
        if one.row.replica in names or bytes.fromhex(one.row.public) not in trust.jwt_keys
    ]
    await _delete(store, [*(one.key for one in gone), *cas, *jwt_keys])
    return tuple(sorted(names))


async def _delete(store: Store, keys: Sequence[str]) -> None:
    for start in range(0, len(keys), MAX_OPERATIONS):
        await store.commit(expect={}, put={}, delete=keys[start : start + MAX_OPERATIONS])


def _narrowed(row: NodeRow, floor: int | None) -> NodeRow:
    """A node as it must be at least, given the floor that agents hold. One in quarantine may have been revoked since."""
    if floor is None:
        ended = row.state in {model.REVOKED, model.LOCKED}
        return row if ended else replace(row, state=model.REVOKED, reason=SINCE)
    if floor <= row.floor:
        return row
    return replace(row, epoch=max(row.epoch, floor), floor=floor, renew_floor=floor)


def _unknown(name: str) -> NodeRow:
    """A node that was invited after the backup: its name must not begin again at epoch 1."""
    try:
        mine = spiffe.parse(name)
        return NodeRow(
            trust_domain=mine.trust_domain, node=mine.node, site=mine.site, jurisdiction=mine.jurisdiction
        )
    except CertError as exc:
        raise InvalidError(f"the trust document names `{name}`, which is no node") from exc


def _node_keys(row: NodeRow) -> tuple[str, str]:
    return rows.node_key(row.node, row.site), rows.floor_key(row.node, row.site)


async def _newer_delegation(store: Store, offered: bytes, made: Authorities) -> Put:
    ours = read_delegation(offered, *made.now.ever)
    stored = await rows.find(store, DelegationRow, rows.DELEGATION)
    if stored is not None and stored.row.version >= ours.version:
        return {}
    return {rows.DELEGATION: model.dump(DelegationRow(version=ours.version, envelope=offered.decode()))}


def _batches(put: Put) -> Iterator[dict[str, bytes]]:
    """What fits into one commit each, with room for the keys in its expectations."""
    batch: dict[str, bytes] = {}
    size = 0
    for key, value in put.items():
        weight = 2 * len(key.encode()) + len(value)
        if batch and (len(batch) == MAX_OPERATIONS // 2 or size + weight > MAX_COMMIT_BYTES):
            yield batch
            batch, size = {}, 0
        batch[key], size = value, size + weight
    if batch:
        yield batch
