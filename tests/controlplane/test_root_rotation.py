"""The root is changed below control planes that run: what each step waits for, and who cannot take it."""

import dataclasses
import hashlib

import pytest
from rotating import DAY, DOMAIN, LEASE, Plane, World, agent, ceremony, hears, store_of

from certs import authority, bundle, verify
from certs.document_keys import ALGORITHMS
from certs.profile import CaKind
from controlplane.api.gen import replica_pb2
from controlplane.errors import CorruptError, ExistsError, InvalidError, PreconditionError
from controlplane.rpc import replica_api
from controlplane.services.authority import authorities, ca_rows, root_files
from controlplane.services.federation import own_bundle
from controlplane.services.mesh import join, root_keeping, root_making, setup
from controlplane.services.mesh.replicas import read_delegation
from controlplane.services.push.hub import AgentState
from controlplane.signer.file import FileSigner
from policies.trusted import FEATURES


@pytest.fixture(params=["memory", "sqlite"])
async def world(tmp_path, request):
    async with store_of(request.param, tmp_path) as store:
        made = World(tmp_path, store)
        await made.first()
        yield made


async def rotated_cas(world: World) -> None:
    """Until every CA is below the root that signs, and what was before is gone."""
    for days in (
        0,
        0,
        2,
        3,
    ):  # what old ones signed has to end, and operators have to hear of control planes' CAs
        world.clock.now += days * DAY
        for plane in world.planes:
            await plane.rotation.once()
            await plane.publisher.refresh()
            plane.acknowledge()


async def test_a_root_is_replaced_and_every_agent_follows(world) -> None:
    one = world.planes[0]
    old, held = one.made.root, agent(world)
    hears(held, one)
    one.connect("app")
    await one.root_rotation.prepare(ceremony(world))
    assert hears(held, one).roots.believed == one.made.roots == (old, one.made.roots[1])
    assert one.made.now.signing == old
    one.acknowledge()
    await one.root_rotation.activate()
    new = one.made.now.signing
    assert hears(held, one).roots.believed == (old, new)
    assert read_delegation(one.publisher.anchors.delegation, new).version == 2
    one.acknowledge()
    await rotated_cas(world)
    await one.root_rotation.retire()
    assert hears(held, one).roots.believed == one.made.roots == (new,)
    assert {ca_rows.names(row, new) for row in await one.cas.all()} == {True}
    late = hears(agent(world), one)  # it slept through all of it, and pins the first root
    assert late.roots.believed == (new,)
    assert one.made.root_sha256 == hashlib.sha256(new).hexdigest()


async def test_it_goes_on_to_a_third_root(world) -> None:
    one = world.planes[0]
    for _ in range(2):
        await one.root_rotation.prepare(ceremony(world))
        await one.root_rotation.activate()
        await one.root_rotation.note()
        await one.root_rotation.retire(force=True)
        await one.root_rotation.note()
    assert [root.state for root in await one.root_rotation.roots()] == ["retired", "retired", "active"]
    assert one.made.now.key_name == "root-3"
    assert hears(agent(world), one).roots.believed == one.made.roots


async def test_activation_waits_for_every_agent_and_names_those_who_lag(world) -> None:
    one = world.planes[0]
    late, old = one.connect("late", 0), one.connect("old-version", 1 << 39)
    old.features = frozenset({"rules-v1"})
    await one.root_rotation.prepare(ceremony(world))
    with pytest.raises(PreconditionError, match="late, old-version"):
        await one.root_rotation.activate()
    assert (await one.root_rotation.activate(dry_run=True)).behind == ("late", "old-version")
    late.generation = one.generation
    with pytest.raises(PreconditionError, match="not known yet to old-version"):
        await one.root_rotation.activate()
    before = one.publisher.anchors.delegation
    one.linked = False
    with pytest.raises(PreconditionError, match="not reached"):
        await one.root_rotation.activate()
    assert (one.made.now.version, one.publisher.anchors.delegation) == (1, before)
    await one.root_rotation.activate(force=True)
    assert one.made.now.version == 2


def test_what_agents_of_other_replicas_can_do_is_told() -> None:
    agent_ = AgentState("app", connected=True, features=FEATURES)
    (heard,) = replica_api.states(replica_pb2.Agents(agents=[replica_api.report(agent_)]), "two")
    assert heard.features == FEATURES


async def test_retiring_waits_for_what_is_below_the_old_root(world) -> None:
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    with pytest.raises(PreconditionError, match="prepared, not active"):
        await one.root_rotation.retire()
    await one.root_rotation.activate()
    with pytest.raises(PreconditionError, match="below the old root"):
        await one.root_rotation.retire()
    assert len((await one.root_rotation.retire(dry_run=True)).cas) == len(CaKind)
    await one.root_rotation.retire(force=True)
    assert one.publisher.anchors.node_cas == ()
    assert hears(agent(world), one).trust.node_cas == ()  # the rest counts
    await one.rotation.once()
    world.clock.now += LEASE + 1
    await one.rotation.once()
    assert one.accepts(await one.issue()).epoch == 1


async def test_cas_below_the_old_root_are_replaced_by_the_schedule(world) -> None:
    one = world.planes[0]
    await one.cas.prepare(CaKind.NODE)  # under way when the root changes
    await one.root_rotation.prepare(ceremony(world))
    await one.rotation.once()
    assert await one.states() == ["active", "prepared"]
    one.connect("app", 0)
    await one.root_rotation.activate(force=True)
    await one.rotation.once()
    before = one.made.node_ca.certificate
    assert await one.states() == ["active", "prepared"]  # the one below the old root has gone
    await one.rotation.once()
    assert one.made.node_ca.certificate == before  # not before the agent knows it
    one.acknowledge()
    await one.rotation.once()
    assert await one.states() == ["active", "old"]
    verify.check_issuing_ca(one.made.node_ca.certificate, one.made.now.signing, CaKind.NODE, int(one.clock()))
    assert await one.states(CaKind.CONTROL_PLANE) == ["active", "prepared"]  # operators have to hear of it
    world.clock.now += DAY
    await one.rotation.once()
    assert await one.states(CaKind.CONTROL_PLANE) == ["active", "old"]


async def test_the_same_change_again_changes_nothing_and_another_one_is_refused(world, tmp_path) -> None:
    one = world.planes[0]
    change = ceremony(world)
    assert ceremony(world) == change  # the key that was made is not lost
    await one.root_rotation.prepare(change)
    generation = one.generation
    await one.root_rotation.prepare(change)
    assert one.generation == generation
    other = setup.make_mesh(DOMAIN, _free(tmp_path / "x"), FileSigner(tmp_path / "x" / "keys", b"p" * 32), 1)
    with pytest.raises(PreconditionError, match="under way"):
        await one.root_rotation.prepare(other.delegation)


def _free(directory):
    directory.mkdir()
    return directory


async def test_a_control_plane_without_the_root_cannot_change_it(world, tmp_path) -> None:
    """It holds every other key of the mesh."""
    one = world.planes[0]
    stolen = FileSigner(_free(tmp_path / "x") / "keys", b"p" * 32)
    fake = setup.make_mesh(DOMAIN, tmp_path / "x", stolen, int(world.clock()))
    forged = root_making.next_root(fake, stolen, int(world.clock()))[-1].envelope.encode()
    for change in (forged, one.made.delegation, b"\xff", b"{}", one.publisher.issue.trust):
        with pytest.raises(InvalidError):
            await one.root_rotation.prepare(change)
    assert await one.root_rotation.all() == []
    row = dataclasses.replace(root_making.next_root(fake, stolen, int(world.clock()))[-1], state="active")
    with pytest.raises(CorruptError):  # nor by writing to the store
        one.made.stand([row])


async def test_only_the_new_root_activates_itself(world) -> None:
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    key = one.signer.ceremony_key("root-2")
    directory, signer = world.directory / "one", one.signer
    made = authorities.load(directory, signer)
    changes, given = root_making.delegated(made, signer, one.publisher.anchors.delegation, int(world.clock()))
    signer.destroy("root-2")  # offline again
    base = read_delegation(one.publisher.anchors.delegation, one.made.root)
    by_the_old = root_making.delegating.next_version(base, base.keys, one.made, int(world.clock()))
    with pytest.raises(PreconditionError, match="not here"):
        await one.root_rotation.activate()
    for wrong in (by_the_old, one.publisher.anchors.delegation, changes[-1].envelope.encode(), b"{}"):
        with pytest.raises(InvalidError, match="no delegation by the new root"):
            await one.root_rotation.activate(wrong)
    await one.root_rotation.activate(given)
    with pytest.raises(InvalidError, match="older"):
        await one.root_rotation.activate(given)
    signer.adopt("root-2", key)


async def test_a_delegation_of_other_keys_is_refused(world) -> None:
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    made = authorities.load(world.directory / "one", one.signer)
    _, given = root_making.delegated(made, one.signer, one.publisher.anchors.delegation, int(world.clock()))
    two = await world.join("two")
    with pytest.raises(InvalidError, match="document keys"):
        await one.root_rotation.activate(given)
    await two.root_rotation.prepare(ceremony(world))  # any replica hands it on
    assert one.made.now.version == 1


async def test_a_replica_joins_during_a_change_and_after_it(world) -> None:
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    two = await world.join("two")
    assert two.made.roots == one.made.roots
    await one.root_rotation.activate()
    await one.root_rotation.note()
    three = await world.join("three")
    assert three.made.now == one.made.now
    new = one.made.now.signing
    assert read_delegation(one.publisher.anchors.delegation, new).version > 2
    verify.check_issuing_ca(three.made.node_ca.certificate, new, CaKind.NODE, int(world.clock()))
    hears(agent(world), three)


async def test_a_delegation_by_the_old_root_is_replaced_before_that_goes(world) -> None:
    """A replica joined where nobody had heard of the activation."""
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    await one.root_rotation.activate()  # and the file beside the root still says that the old one signs
    await world.join("two")
    with pytest.raises(PreconditionError, match="has not signed the newest delegation"):
        await one.root_rotation.retire(force=True)
    await one.rotation.once()
    assert read_delegation(one.publisher.anchors.delegation, one.made.now.signing).version == 4
    await one.root_rotation.retire(force=True)
    hears(agent(world), one)


async def test_a_delegation_by_a_root_that_has_gone_replaces_nothing(world) -> None:
    one = world.planes[0]
    signer = FileSigner(world.directory / "two" / "keys", b"p" * 32)
    asked = await join.request(one.store, signer, DOMAIN, "two")
    given = join.admit(asked, world.directory / "one", one.signer, int(world.clock()))
    made = join.install(given, world.directory / "two", signer, asked)
    await one.root_rotation.prepare(ceremony(world))
    await one.root_rotation.activate()
    await one.root_rotation.retire(force=True)
    late = Plane(one.store, made, signer, "two", world.clock, world.directory / "two")
    with pytest.raises((CorruptError, PreconditionError)):
        await late.begin()
    await one.publisher.refresh()
    assert read_delegation(one.publisher.anchors.delegation, one.made.now.signing).version == 2


async def test_it_is_offline_until_it_is_needed(world, tmp_path) -> None:
    """A backup during a change holds both keys; what comes out of it signs."""
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    directory = world.directory / "one"
    made = root_keeping.backup(directory, one.signer, passphrase=b"correct horse")
    for name in root_keeping.names(authorities.load(directory, one.signer), one.signer):
        one.signer.destroy(name)
    assert not one.cas.root_is_here
    kept = root_keeping.opened(made.sealed, passphrase=b"correct horse")
    safe = FileSigner(_free(tmp_path / "safe") / "keys", b"q" * 32)
    restored = root_keeping.restore(kept, tmp_path / "safe", safe)
    assert restored.now == one.made.now
    changes, given = root_making.delegated(
        restored, safe, one.publisher.anchors.delegation, int(world.clock())
    )
    root_files.save(tmp_path / "safe", changes)
    await one.root_rotation.activate(given)
    row = await one.cas.prepare(CaKind.NODE)
    assert row.state == "requested"
    after = authorities.load(tmp_path / "safe", safe)
    (signed,) = root_keeping.sign(after, safe, [one.cas.request(row)], now=int(world.clock()), lifetime_s=DAY)
    assert (await one.cas.install(signed)).state == "prepared"
    other = FileSigner(_free(tmp_path / "other") / "keys", b"q" * 32)
    setup.make_mesh(DOMAIN, tmp_path / "other", other, int(world.clock()))
    with pytest.raises(ExistsError):
        root_keeping.restore(kept, tmp_path / "other", other)
    assert authorities.load(tmp_path / "other", other).root_changes == ()


async def test_a_ca_below_the_root_that_does_not_sign_is_not_installed(world) -> None:
    """While only prepared, agents that have not heard of the next root would refuse the whole trust document."""
    one = world.planes[0]
    await one.root_rotation.prepare(ceremony(world))
    key, name = one.signer.ceremony_key("root"), one.made.now.key_names()[1]
    one.signer.destroy("root")
    row = await one.cas.prepare(CaKind.NODE)
    public = bundle.public_key(bytes.fromhex(row.public))
    wrong = authority.make_issuing_ca(
        CaKind.NODE,
        one.made.roots[1],
        one.signer.ceremony_key(name),
        public,
        serial=9,
        now=int(world.clock()),
    )
    with pytest.raises(InvalidError):
        await one.cas.install(wrong)
    one.signer.adopt("root", key)


async def test_every_bundle_holds_both_roots_during_a_change(world) -> None:
    one = world.planes[0]
    before = own_bundle.newest(one.made, one.publisher)
    await one.root_rotation.prepare(ceremony(world))
    both = own_bundle.newest(one.made, one.publisher)
    assert (both.roots, len(both.roots)) == (one.made.roots, 2)
    assert both.sequence > before.sequence
    assert bundle.load(bundle.dump(both), DOMAIN).roots == both.roots


async def test_documents_stay_signed_twice(tmp_path) -> None:
    async with store_of("memory", tmp_path) as store:
        world = World(tmp_path, store)
        one = await world.first(algorithms=ALGORITHMS)
        await one.root_rotation.prepare(ceremony(world))
        await one.root_rotation.activate()
        held = hears(agent(world), one)
        assert (held.delegation.algorithms, held.delegation.version) == (ALGORITHMS, 2)


async def test_the_state_survives_a_restart_at_every_step(world) -> None:
    one = world.planes[0]
    change = ceremony(world)
    for step in (
        lambda plane: plane.root_rotation.prepare(change),
        lambda plane: plane.root_rotation.activate(),
        lambda plane: plane.root_rotation.retire(force=True),
    ):
        await step(one)
        before, anchors = one.made.now, one.publisher.anchors
        one = world.again(one)
        await one.begin()
        assert one.made.now == before
        assert one.publisher.anchors.root_changes == anchors.root_changes
        hears(agent(world), one)
