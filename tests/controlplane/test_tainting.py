"""A key that may be stolen: who is affected, what is replaced, and when it is believed no more."""

import dataclasses

import pytest
import rotating
from rotating import DOMAIN, LEASE, NODE, START, World

from certs.errors import ChainError
from certs.profile import CaKind
from controlplane import model
from controlplane.errors import NotFoundError, PreconditionError, UnavailableError
from controlplane.model import NodeRow
from controlplane.services import rows

AGENT = f"spiffe://{DOMAIN}/fr/paris/app"


@pytest.fixture(params=["memory", "sqlite"])
async def world(request, tmp_path):
    async with rotating.store_of(request.param, tmp_path) as store:
        made = World(tmp_path, store)
        await made.first()
        yield made


async def active(plane, kind: str = "node") -> str:
    (found,) = [
        one.row.key_id for one in await plane.cas.ours() if (one.row.kind, one.row.state) == (kind, "active")
    ]
    return found


async def test_a_dry_run_says_who_is_affected_and_changes_nothing(world) -> None:
    (one,) = world.planes
    await one.issue("app")
    await one.issue("gpu")
    before = one.publisher.issue.generation
    effect = await one.tainting.taint(await active(one), now=True, dry_run=True)
    assert effect.nodes == ("app.paris", "gpu.paris")
    assert any("must enrol again" in line for line in effect.breaks)
    assert any("nothing is issued until one is" in line for line in effect.breaks)
    assert (await one.states(), one.publisher.issue.generation) == (["active"], before)


async def test_nothing_more_is_signed_and_what_was_lives_until_it_is_replaced(world) -> None:
    (one,) = world.planes
    leaf, key = await one.issue(), await active(one)
    stolen = one.made.node_ca.certificate
    await one.tainting.taint(key, now=False, dry_run=False)
    with pytest.raises(UnavailableError, match="no `node` CA is active"):
        await one.issue()
    assert one.accepts(leaf)
    assert one.publisher.anchors.tainted == (stolen,)
    await one.rotation.once()  # prepares the next
    await one.rotation.once()  # nobody is connected who does not know it
    assert await one.states() == ["active", "tainted"]
    world.clock.now += 240
    await one.house()
    assert stolen in one.node_cas, "a node still holds a certificate by it"
    await one.issue()
    await one.house()
    assert (await one.states(), one.publisher.anchors.tainted) == (["active"], ())
    with pytest.raises(ChainError):
        one.accepts(leaf)


async def test_the_successor_waits_for_agents_one_lease_and_no_longer(world) -> None:
    (one,) = world.planes
    agent = one.connect(AGENT, generation=0)
    await one.tainting.taint(await active(one), now=False, dry_run=False)
    await one.rotation.once()
    await one.rotation.once()
    assert await one.states() == ["prepared", "tainted"]
    world.clock.now += LEASE
    await one.rotation.once()
    assert await one.states() == ["active", "tainted"]
    assert agent.generation == 0


async def test_a_quarantined_node_keeps_a_tainted_ca_as_any_other_does(world) -> None:
    """It sends evidence with that certificate, and renews: dropping its CA first would shut out what is to be heard."""
    (one,) = world.planes
    await one.issue("app")
    key = rows.node_key("app", "paris")
    stored = await rows.find(one.store, NodeRow, key)
    apart = dataclasses.replace(stored.row, state=model.QUARANTINED)
    await one.store.commit(expect={}, put={key: model.dump(apart)})
    effect = await one.tainting.taint(await active(one), now=False, dry_run=False)
    assert effect.nodes == ("app.paris",)
    stolen = one.made.node_ca.certificate
    for _ in range(2):
        await one.rotation.once()
    world.clock.now += 240
    await one.house()
    assert stolen in one.node_cas
    await one.issue("app")
    await one.house()
    assert stolen not in one.node_cas


async def test_a_lost_answer_can_be_asked_for_again_with_the_old_certificate(world) -> None:
    (one,) = world.planes
    leaf = await one.issue()
    await one.tainting.taint(await active(one), now=False, dry_run=False)
    for _ in range(2):
        await one.rotation.once()
    await one.issue()  # stored, and the answer is lost
    world.clock.now += 239
    await one.house()
    assert one.accepts(leaf)


async def test_a_node_that_never_renews_does_not_keep_a_stolen_key_believed(world) -> None:
    (one,) = world.planes
    leaf = await one.issue()
    await one.tainting.taint(await active(one), now=False, dry_run=False)
    for _ in range(2):
        await one.rotation.once()
    world.clock.now = START + 3600
    await one.house()
    assert await one.states() == ["active"]
    with pytest.raises(ChainError):
        one.accepts(leaf)


async def test_at_once_it_is_refused_from_the_next_generation_on(world) -> None:
    (one,) = world.planes
    leaf, stolen = await one.issue(), one.made.node_ca.certificate
    effect = await one.tainting.taint(await active(one), now=True, dry_run=False)
    assert effect.nodes == ("app.paris",)
    assert stolen not in one.node_cas
    with pytest.raises(ChainError):
        one.accepts(leaf)
    for _ in range(2):
        await one.rotation.once()
    assert one.accepts(await one.issue())


async def test_without_the_root_there_must_be_another_first(world) -> None:
    (one,) = world.planes
    one.signer.destroy("root")
    key = await active(one)
    with pytest.raises(PreconditionError, match="no CA could issue instead"):
        await one.tainting.taint(key, now=False, dry_run=False)
    assert await one.states() == ["active"]
    effect = await one.tainting.taint(key, now=True, dry_run=False)
    assert any("nothing is issued" in line for line in effect.breaks)


async def test_tainting_cannot_be_undone(world) -> None:
    (one,) = world.planes
    key = await active(one)
    await one.issue()
    await one.tainting.taint(key, now=False, dry_run=False)
    with pytest.raises(PreconditionError, match="is tainted, not prepared"):
        await one.cas.activate(key, force=True)
    with pytest.raises(PreconditionError, match="may live for"):
        await one.cas.retire(key, force=False)
    await one.tainting.taint(key, now=False, dry_run=False)  # again: nothing new
    assert "tainted" in await one.states()
    with pytest.raises(NotFoundError):
        await one.tainting.taint("nobody", now=False, dry_run=False)


async def test_workload_and_control_plane_cas_leave_after_the_time_agents_have(world) -> None:
    (one,) = world.planes
    for kind in (CaKind.WORKLOAD, CaKind.CONTROL_PLANE):
        await one.tainting.taint(await active(one, kind.value), now=False, dry_run=False)
        for _ in range(2):
            await one.rotation.once()
        await one.house()
        assert await one.states(kind) == ["active", "tainted"]
        world.clock.now += 240
        await one.house()
        assert await one.states(kind) == ["active"]


async def test_a_prepared_ca_is_simply_dropped(world) -> None:
    (one,) = world.planes
    made = await one.cas.prepare(NODE)
    await one.tainting.taint(made.key_id, now=False, dry_run=False)
    assert await one.states() == ["active"]


async def test_a_stolen_jwt_key_signs_no_more_and_is_believed_for_as_long_as_tokens_live(world) -> None:
    (one,) = world.planes
    stolen = (await one.jwt_keys.signing_key()).key_id
    await one.tainting.taint(stolen, now=False, dry_run=False)
    with pytest.raises(UnavailableError, match="no JWT key is active"):
        await one.jwt_keys.signing_key()
    for _ in range(2):
        await one.rotation.once()
    assert (await one.jwt_keys.signing_key()).key_id != stolen
    await one.house()
    assert len(one.publisher.anchors.jwt_keys) == 2
    world.clock.now += 600
    await one.house()
    assert len(one.publisher.anchors.jwt_keys) == 1
