"""What shows that a store is older, and what a new epoch takes over: only what is proven, and only what narrows."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from audit import merkle, note
from certs import envelope, keys
from controlplane import model
from controlplane.authority_rows import CaRow, JwtKeyRow, ReplicaRow
from controlplane.errors import DeniedError, InvalidError, PreconditionError, RolledBackError
from controlplane.model import NodeRow, PolicyState, TokenRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.evidence.witness import Witness, origin
from controlplane.services.mesh import join, setup
from controlplane.services.mesh.replicas import Replicas
from controlplane.services.push.hub import Hub
from controlplane.services.push.publish import Publisher
from controlplane.services.restore import epochs
from controlplane.services.restore.epochs import Told
from controlplane.services.restore.held import Held, proven
from controlplane.services.restore.mark import EPOCH_BITS, FILE, Mark
from controlplane.signer.file import FileSigner
from controlplane.store.sqlite import SqliteStore
from policies import documents as d
from policies import payloads

NOW = 1_900_000_000
DOMAIN = "acme.example"
NODE = NodeRow(trust_domain=DOMAIN, node="gpu-1", site="berlin", jurisdiction="DE", state="enrolled", epoch=1)


@dataclass
class World:
    """A mesh of one replica in SQLite, and a node in it."""

    store: SqliteStore
    made: Authorities
    signer: FileSigner
    directory: Path

    def mark(self) -> Mark:
        return Mark(self.directory / FILE)

    def publisher(self, mark: Mark | None = None) -> Publisher:
        return Publisher(
            self.store, self.made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW, mark=mark
        )

    async def keep(self, key: str, row: object) -> None:
        await self.store.commit(expect={}, put={key: model.dump(row), rows.MESH: b"{}"})

    async def row(self, node: str = "gpu-1", site: str = "berlin") -> NodeRow:
        return (await rows.read_node(self.store, node, site)).row


@pytest.fixture
async def world(tmp_path):
    signer = FileSigner(tmp_path / "root" / "keys", b"p" * 32)
    made = setup.make_mesh(DOMAIN, tmp_path / "root", signer, NOW, "one")
    store = SqliteStore.open(tmp_path / "writ.db")
    await Replicas(store, made, "one", clock=lambda: NOW).register(
        "one:1", witness=signer.shared_key("witness-1")
    )
    world = World(store, made, signer, tmp_path / "root")
    await world.keep(rows.node_key("gpu-1", "berlin"), NODE)
    yield world
    await store.close()


def beat(world: World, generation: int, key=None) -> bytes:
    document = d.Heartbeat(trust_domain=DOMAIN, generation=generation, trust="0" * 64, at=NOW, until=NOW + 60)
    signers = world.made.document_signers() if key is None else [(_id(key), key.sign)]
    return payloads.seal(d.TYPE_HEARTBEAT, payloads.dump_heartbeat(document), *signers).to_json()


def _id(key: ed25519.Ed25519PrivateKey) -> str:
    return envelope.key_id(keys.raw(key.public_key()))


def shown(world: World, heartbeat: bytes, delegation: bytes = b"") -> int:
    return proven(
        Held(heartbeat=heartbeat, delegation=delegation), world.made.roots, world.made.delegation, 100
    )


# --- proof -------------------------------------------------------------------------------------------------------


async def test_only_what_a_delegated_key_signed_proves_anything(world) -> None:
    assert shown(world, beat(world, 101)) == 101
    assert shown(world, beat(world, 100)) == 0
    thief = ed25519.Ed25519PrivateKey.generate()
    forged = beat(world, 101, thief)
    for claim in (forged, b"", b"{}", b"x" * 10_000, forged.replace(_id(thief).encode(), b"00000000")):
        assert shown(world, claim) == 0
        assert shown(world, claim, claim) == 0


async def test_the_agent_may_know_a_delegation_that_the_store_has_forgotten(world, tmp_path) -> None:
    signer = FileSigner(tmp_path / "two" / "keys", b"p" * 32)
    asked = await join.request(world.store, signer, DOMAIN, "two")
    second = join.install(
        join.admit(asked, world.directory, world.signer, NOW), tmp_path / "two", signer, asked
    )
    document = d.Heartbeat(trust_domain=DOMAIN, generation=101, trust="0" * 64, at=NOW, until=NOW + 60)
    by_second = payloads.seal(
        d.TYPE_HEARTBEAT, payloads.dump_heartbeat(document), *second.document_signers()
    ).to_json()
    assert shown(world, by_second) == 0
    assert shown(world, by_second, second.delegation) == 101


async def test_a_proof_ends_the_replica_and_stays_after_a_restart(world) -> None:
    publisher = world.publisher(world.mark())
    await publisher.refresh()
    held = Held(heartbeat=beat(world, publisher.issue.generation + 1), delegation=b"")
    with pytest.raises(RolledBackError):
        await publisher.shown(held)
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await publisher.run()  # ends at once, not with the next heartbeat
    with pytest.raises(RolledBackError):
        await publisher.beat()
    with pytest.raises(RolledBackError, match="older than the mesh"):
        await epochs.check(world.store, world.mark())


async def test_a_proof_of_what_the_store_has_meanwhile_is_no_proof(world) -> None:
    """Another replica was faster: what it signed is in the store by then."""
    publisher = world.publisher(world.mark())
    await publisher.refresh()
    await world.keep(rows.node_key("gpu-2", "berlin"), dataclasses.replace(NODE, node="gpu-2"))
    newer = (await world.store.get(rows.MESH)).revision
    await publisher.shown(Held(heartbeat=beat(world, newer), delegation=b""))
    assert publisher.issue.generation == newer


async def test_a_proof_that_comes_while_the_store_is_read_is_about_what_comes_next(
    world, monkeypatch
) -> None:
    mark, read = world.mark(), world.store.get
    publisher = world.publisher(mark)

    async def get(key: str):
        item = await read(key)
        mark.reach(item.revision + 1)  # an agent of another replica, which has just committed
        return item

    monkeypatch.setattr(world.store, "get", get)
    await publisher.beat()


async def test_no_generation_leaves_before_the_mark_is_on_disk(world) -> None:
    publisher = world.publisher(world.mark())
    await publisher.refresh()
    assert world.mark().generation == publisher.issue.generation


# --- a new epoch -------------------------------------------------------------------------------------------------


async def told(world: World, **changes: object) -> Told:
    """What an agent holds: this mesh a hundred generations later, with changes."""
    mesh = await world.store.get(rows.MESH)
    document = d.TrustDocument(
        trust_domain=DOMAIN,
        **{
            "generation": mesh.revision + 100,
            "roots": (world.made.root,),
            "node_cas": (world.made.node_ca.certificate,),
            "control_plane_cas": (world.made.control_plane_ca.certificate,),
            "workload_cas": (world.made.workload_ca.certificate,),
            "floors": {},
            "policy_min": 1,
            "policy_now": 1,
            **changes,
        },
    )
    sealed = payloads.seal(
        d.TYPE_TRUST, payloads.dump_trust(document), *world.made.document_signers()
    ).to_json()
    return epochs.verified(world.made.delegation, sealed, world.made, NOW)


async def opened(world: World, *held: Told) -> epochs.Opened:
    return await epochs.begin(world.store, world.mark(), held, world.made, NOW)


async def test_generations_begin_above_all_that_was_signed(world) -> None:
    first = await opened(world)
    assert (first.number, first.generation >> EPOCH_BITS) == (1, 1)
    await epochs.check(world.store, world.mark())
    assert (await opened(world)).number == 2
    world.mark().reach(7 << EPOCH_BITS)
    with pytest.raises(RolledBackError):
        await epochs.check(world.store, world.mark())
    assert (await opened(world)).number == 8
    assert (await opened(world, await told(world, generation=20 << EPOCH_BITS))).number == 21
    with pytest.raises(PreconditionError, match="no epochs left"):
        await opened(world, await told(world, generation=(1 << 53) - 1))


async def test_what_agents_know_to_be_revoked_stays_so(world) -> None:
    ours, theirs = str(NODE.spiffe_id), str(NODE.spiffe_id).replace("gpu-1", "gpu-9")
    found = await opened(world, await told(world, floors={ours: None, theirs: 4}))
    assert found.merged.narrowed == (ours, theirs)
    assert (await world.row()).state == model.REVOKED
    unknown = await world.row("gpu-9")
    assert (unknown.state, unknown.epoch, unknown.floor, unknown.renew_floor) == (model.INVITED, 4, 4, 4)
    publisher = world.publisher(world.mark())
    await publisher.refresh()
    sent = payloads.load_trust(envelope.parse(publisher.issue.trust, 1 << 20).payload)
    assert sent.floors == {ours: None, theirs: 4}
    assert not publisher.may_go_on(theirs, 3)


async def test_a_node_that_enrolled_again_is_not_its_thief(world) -> None:
    await opened(world, await told(world, floors={str(NODE.spiffe_id): 2}))
    row = await world.row()
    assert (row.state, row.epoch, row.floor, row.renew_floor) == (model.ENROLLED, 2, 2, 2)


async def test_nothing_that_agents_hold_widens(world) -> None:
    await world.keep(rows.floor_key("gpu-1", "berlin"), dataclasses.replace(NODE, floor=5, epoch=5))
    await world.keep(rows.node_key("gpu-1", "berlin"), dataclasses.replace(NODE, floor=5, epoch=5))
    locked = dataclasses.replace(NODE, node="gpu-2", state=model.LOCKED, reason="two keys")
    apart = dataclasses.replace(NODE, node="gpu-3", state=model.QUARANTINED)
    for row in (locked, apart):
        await world.keep(rows.node_key(row.node, "berlin"), row)
    ours = str(NODE.spiffe_id)
    await opened(
        world, await told(world, floors={ours: 2, **{str(row.spiffe_id): None for row in (locked, apart)}})
    )
    assert (await world.row()).floor == 5
    assert await world.row("gpu-2") == locked
    assert (await world.row("gpu-3")).state == model.REVOKED


async def test_a_replica_that_was_removed_since_stays_removed_with_all_its_keys(world) -> None:
    mine = (await rows.read(world.store, ReplicaRow, rows.replica_key("one"), "replica")).row
    await world.keep(rows.replica_key("two"), dataclasses.replace(mine, name="two", document_key="00"))
    ca = (await rows.every(world.store, CaRow, rows.CA_AUTHORITIES))[0].row
    for key_id, replica in (("stolen", "two"), ("retired", "one")):
        row = dataclasses.replace(ca, replica=replica, key_id=key_id, certificate="00")
        await world.keep(rows.ca_authority_key(key_id), row)
    public = keys.spki(keys.generate_p256().public_key())
    for key_id, replica in (("a", "two"), ("b", "one")):
        row = JwtKeyRow(
            key_id=key_id, replica=replica, key_name=key_id, public=public.hex(), state="active", since=0
        )
        await world.keep(rows.jwt_authority_key(key_id), row)
    found = await opened(world, await told(world))
    assert found.merged.dropped == ("two",)
    left = [one.row.name for one in await rows.every(world.store, ReplicaRow, "replica/")]
    assert left == ["one"]
    cas = [one.row for one in await rows.every(world.store, CaRow, rows.CA_AUTHORITIES)]
    assert {one.replica for one in cas} == {"one"}
    assert "retired" not in {one.key_id for one in cas}
    assert await rows.every(world.store, JwtKeyRow, rows.JWT_AUTHORITIES) == []


async def test_documents_older_than_the_store_take_nothing_away(world) -> None:
    older = await told(world, floors={str(NODE.spiffe_id): None}, generation=1)
    found = await opened(world, older)
    assert (found.merged.narrowed, (await world.row()).state) == ((), model.ENROLLED)


async def test_tokens_and_approvals_are_forgotten_and_policy_numbers_are_not_given_again(world) -> None:
    await world.keep(rows.token_key("t"), TokenRow(node="gpu-1", site="berlin", expires_at=NOW + 600))
    await world.store.commit(expect={}, put={rows.approval_key("a"): b"{}"})
    await world.keep(rows.POLICY, PolicyState(minimum=3, now=3, latest=3))
    found = await opened(world, await told(world, policy_min=5, policy_now=6))
    assert (found.policy, found.merged.policy) == (3, 6)
    assert (await rows.policy_state(world.store)).row.next == 7
    assert await world.store.get(rows.token_key("t")) is None
    assert await world.store.get(rows.approval_key("a")) is None


async def test_documents_of_another_mesh_are_refused(world, tmp_path) -> None:
    other = setup.make_mesh(
        DOMAIN, _fresh(tmp_path), FileSigner(tmp_path / "x" / "keys", b"p" * 32), NOW, "one"
    )
    held = await told(world)
    with pytest.raises(InvalidError, match="no documents of this mesh"):
        epochs.verified(held.delegation, b"{}", other, NOW)


def _fresh(tmp_path: Path) -> Path:
    (tmp_path / "x").mkdir()
    return tmp_path / "x"


# --- restoring ---------------------------------------------------------------------------------------------------


async def test_a_restored_store_is_refused_until_an_epoch_begins(world, tmp_path) -> None:
    items, revision = await world.store.list("")
    store = SqliteStore.open(tmp_path / "new.db")
    await epochs.restore(store, NOW, revision, {item.key: item.value for item in items})
    with pytest.raises(RolledBackError, match="no new epoch"):
        await epochs.check(store, Mark())
    with pytest.raises(PreconditionError, match="not empty"):
        await epochs.restore(store, NOW, revision, {})
    await epochs.begin(store, world.mark(), (), world.made, NOW)
    await epochs.check(store, world.mark())
    restored = {item.key: item.value for item in (await store.list(""))[0]}
    assert restored.pop(rows.EPOCH)
    assert restored == {item.key: item.value for item in items}
    await store.close()


async def test_a_part_of_a_backup_never_becomes_a_mesh(world, tmp_path) -> None:
    store = SqliteStore.open(tmp_path / "new.db")
    with pytest.raises(InvalidError):  # the second batch holds what no store takes
        await epochs.restore(store, NOW, 5, {"node/a/b": bytes(1 << 20), "x" * 600: b""})
    with pytest.raises(RolledBackError, match="a part of a backup"):
        await epochs.check(store, Mark())
    with pytest.raises(RolledBackError, match="restore again"):
        await epochs.begin(store, Mark(), (), world.made, NOW)
    await store.close()


# --- the witness -------------------------------------------------------------------------------------------------


@dataclass
class Log:
    """A node's log and what was cosigned of it."""

    node: NodeRow
    key: note.VerifierKey
    private: ed25519.Ed25519PrivateKey

    def checkpoint(self, size: int) -> str:
        leaves = [merkle.leaf_hash(bytes([number])) for number in range(size)]
        head = note.Checkpoint(origin(self.node), size, merkle.root_of(leaves))
        return note.sign_checkpoint(head, self.key, self.private.sign)


@pytest.fixture
def log() -> Log:
    private = ed25519.Ed25519PrivateKey.generate()
    key = note.VerifierKey(origin(NODE), note.NOTE, keys.raw(private.public_key()))
    return Log(dataclasses.replace(NODE, evidence_key=str(key)), key, private)


def cosigned(world: World, witness: Witness, text: str, at: int) -> str:
    sign = world.made.signing(world.made.witness_key_name)
    return text + note.cosign(text, witness.key, sign, at)


async def test_a_checkpoint_that_we_cosigned_and_forgot_accuses_the_store(world, log) -> None:
    said: list[str] = []
    witness = Witness(world.store, world.made, said.append)
    with pytest.raises(RolledBackError, match="5 entries cosigned, the store knows of 0"):
        await witness.remember(log.node, cosigned(world, witness, log.checkpoint(5), NOW))
    assert len(said) == 1


async def test_what_an_epoch_before_lost_is_taken_over(world, log) -> None:
    await epochs.begin(world.store, world.mark(), (), world.made, NOW)
    witness = Witness(world.store, world.made)
    await witness.remember(log.node, cosigned(world, witness, log.checkpoint(5), NOW - 1))
    ((_, row),) = await witness.all()
    assert (row.size, row.checkpoint, row.cosigned_at) == (5, log.checkpoint(5), NOW - 1)
    assert witness.cosigned(row) == cosigned(world, witness, log.checkpoint(5), NOW - 1)
    await witness.remember(log.node, cosigned(world, witness, log.checkpoint(3), NOW - 1))  # nothing new
    assert (await witness.all())[0][1].size == 5
    with pytest.raises(RolledBackError):
        await witness.remember(log.node, cosigned(world, witness, log.checkpoint(9), NOW + 1))


async def test_what_was_not_cosigned_proves_nothing(world, log) -> None:
    said: list[str] = []
    witness = Witness(world.store, world.made, said.append)
    other = ed25519.Ed25519PrivateKey.generate()
    forged = log.checkpoint(5) + note.cosign(log.checkpoint(5), witness.key, other.sign, NOW)
    for text in (log.checkpoint(5), forged, "", "x" * 20_000):
        with pytest.raises(DeniedError):
            await witness.remember(log.node, text)
    assert said == []
