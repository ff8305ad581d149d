"""Rotation on schedule: months of it in a moment. Nothing that is alive is ever refused, nothing is used before it is known."""

import pytest
import rotating
from rotating import DAY, DOMAIN, LEASE, LIFE, NODE, START, World

from certs import authority, bundle, verify
from certs.profile import CaKind
from controlplane.authority_rows import JwtKeyRow
from controlplane.errors import PreconditionError
from controlplane.services.authority.rotation import Pace, Step, Verb, jwt_keys_due
from controlplane.services.mesh.replicas import read_delegation

AGENT = f"spiffe://{DOMAIN}/fr/paris/app"


@pytest.fixture(params=["memory", "sqlite"])
async def world(request, tmp_path):
    async with rotating.store_of(request.param, tmp_path) as store:
        made = World(tmp_path, store)
        await made.first()
        yield made


async def test_three_months_of_rotation_refuse_nothing_that_lives(world) -> None:
    one = world.planes[0]
    await world.join("two")
    leaves: list[tuple[int, bytes]] = []  # (ends, leaf)
    issuers: set[bytes] = set()
    agent = one.connect(AGENT)
    for _ in range(4 * 95):
        world.clock.now += DAY / 4
        for plane in world.planes:
            await plane.rotation.once()
            for other in world.planes:
                await other.publisher.refresh()  # as its watch of the mesh does
        for plane in world.planes:
            assert plane.made.node_ca.certificate in one.node_cas
        known, agent.generation = set(one.node_cas), one.generation
        for plane in world.planes:
            assert plane.made.node_ca.certificate in known, "used before it was published"
            issuers.add(plane.made.node_ca.certificate)
            leaf = await plane.issue(plane.name)
            leaves.append((verify.load(leaf).not_valid_after_utc.timestamp(), leaf))
        leaves = [(ends, leaf) for ends, leaf in leaves if ends > world.clock.now]
        for _, leaf in leaves:
            assert one.accepts(leaf)
        assert len(one.node_cas) <= 6
    assert len(issuers) >= 2 * 4  # each about every twenty days
    for plane in world.planes:
        for kind in CaKind:
            assert (await plane.states(kind)).count("active") == 1
        held = {name for name in plane.signer.names() if "-ca-" in name}
        assert held == {one.row.key_name for one in await plane.cas.ours()}  # what is retired is destroyed


async def test_a_ca_waits_for_a_lagging_agent_but_not_until_the_mesh_dies_of_it(world) -> None:
    (one,) = world.planes
    first = one.made.node_ca
    world.clock.now = START + LIFE / 2 + 1
    await one.rotation.once()
    assert await one.states() == ["active", "prepared"]
    one.connect(AGENT, generation=0)  # it takes nothing
    world.clock.now = START + LIFE * 0.7
    await one.rotation.once()
    assert one.made.node_ca == first
    world.clock.now = START + LIFE * 0.9
    await one.rotation.once()
    assert one.made.node_ca != first


async def test_an_agent_that_is_heard_lets_it_go_on(world) -> None:
    (one,) = world.planes
    world.clock.now = START + LIFE / 2 + 1
    await one.rotation.once()
    one.connect(AGENT)
    world.clock.now = START + LIFE * 0.7
    await one.rotation.once()
    assert await one.states() == ["active", "old"]
    world.clock.now += DAY
    await one.rotation.once()
    assert await one.states() == ["active", "old"]  # a leaf of an hour ago, and its day of grace
    world.clock.now += 2 * DAY
    await one.rotation.once()
    assert await one.states() == ["active"]


async def test_without_the_root_it_asks_and_goes_on_once_it_is_answered(world) -> None:
    (one,) = world.planes
    root_key = one.signer.ceremony_key("root")
    one.signer.destroy("root")
    world.clock.now = START + LIFE / 2 + 1
    for _ in range(3):
        await one.rotation.once()
    assert await one.states() == ["active", "requested"]
    row, csr = await one.lifecycle.request("node")
    kind, public = authority.read_request(csr, DOMAIN)
    now = int(world.clock())
    await one.cas.install(authority.make_issuing_ca(kind, one.made.root, root_key, public, serial=9, now=now))
    world.clock.now = START + LIFE * 0.7
    await one.rotation.once()
    assert await one.states() == ["active", "old"]
    assert one.made.node_ca.key_name == row.key_name


async def test_what_a_crash_interrupted_goes_on_after_a_restart(world) -> None:
    """Between any two commits: the root signs what was requested, the schedule activates what was prepared."""
    (one,) = world.planes
    await one.cas._request(NODE)
    again = world.again(one)
    await again.begin()
    await again.rotation.once()
    assert await again.states() == ["active", "prepared"]
    once_more = world.again(one)
    await once_more.begin()
    world.clock.now = START + LIFE * 0.7
    await once_more.rotation.once()
    assert await once_more.states() == ["active", "old"]
    last = world.again(one)
    await last.begin()
    assert last.made.node_ca.certificate == once_more.made.node_ca.certificate
    assert last.accepts(await last.issue())


async def test_a_replica_that_was_off_until_its_cas_ended_makes_others_when_it_starts(world) -> None:
    (one,) = world.planes
    world.clock.now = START + 2 * LIFE
    again = world.again(one)
    await again.begin()
    assert again.accepts(await again.issue())
    await again.house()
    assert await again.states() == ["active"]
    verify.check_issuing_ca(
        again.made.control_plane_ca.certificate, again.made.root, CaKind.CONTROL_PLANE, int(world.clock())
    )


async def test_without_the_root_it_does_not_start_and_says_why(world) -> None:
    (one,) = world.planes
    one.signer.destroy("root")
    world.clock.now = START + 2 * LIFE
    with pytest.raises(PreconditionError, match="the `node` CA of `one` has ended") as found:
        await world.again(one).begin()
    assert "join" in found.value.hint


async def test_the_ca_of_a_replica_that_is_gone_leaves_the_trust_document_when_it_ends(world) -> None:
    one, two = world.planes[0], await world.join("two")
    dead = two.made.node_ca.certificate
    for days in range(0, 32, 2):
        world.clock.now = START + days * DAY
        await one.rotation.once()
        await one.house()
        assert (dead in one.node_cas) is (days < 30)
    assert one.made.node_ca.certificate in one.node_cas
    assert one.accepts(await one.issue())
    await one.house()
    assert {row.replica for row in await one.lifecycle.all()} == {"one"}  # its JWT key went, too


async def test_jwt_keys_are_replaced_too_and_the_old_one_is_believed_for_an_hour(world) -> None:
    (one,) = world.planes
    first = (await one.jwt_keys.signing_key()).key_id
    world.clock.now = START + LIFE / 2 + 1
    await one.rotation.once()
    assert (await one.jwt_keys.signing_key()).key_id == first
    assert len(one.publisher.anchors.jwt_keys) == 2
    world.clock.now = START + LIFE * 0.7
    await one.rotation.once()
    assert (await one.jwt_keys.signing_key()).key_id != first
    assert len(one.publisher.anchors.jwt_keys) == 2
    world.clock.now += 3601
    await one.rotation.once()
    kids = {bundle.key_id(bundle.public_key(key)) for key in one.publisher.anchors.jwt_keys}
    assert kids == {(await one.jwt_keys.signing_key()).key_id}


def test_a_key_that_nobody_can_have_heard_of_is_not_forced() -> None:
    pace = Pace(lifetime_s=LIFE, patience_s=LEASE)
    ready = JwtKeyRow(key_id="k", replica="one", key_name="n", public="", state="prepared", since=START)
    for waited, anyway in ((0, False), (LEASE - 1, False), (LEASE, True)):
        due = list(jwt_keys_due([ready], pace, START + waited))
        assert due == [Step(verb=Verb.ACTIVATE, subject="k", anyway=anyway)]


async def test_the_delegation_of_document_keys_is_renewed_before_it_ends(world) -> None:
    one, two = world.planes[0], await world.join("two")
    before = read_delegation(one.publisher.anchors.delegation, one.made.root)
    world.clock.now = before.expires - 100 * DAY
    await two.cas.sign_what_is_due()  # it has no root
    await one.cas.sign_what_is_due()
    after = read_delegation(one.publisher.anchors.delegation, one.made.root)
    assert (after.version, after.keys) == (before.version + 1, before.keys)
    assert after.expires == world.clock.now + 365 * DAY
    await one.cas.sign_what_is_due()
    assert read_delegation(one.publisher.anchors.delegation, one.made.root) == after
