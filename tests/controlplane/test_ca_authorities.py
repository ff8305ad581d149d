"""Issuing CAs by hand: published before they are used, used only where they are, believed as long as what they signed lives."""

import dataclasses

import pytest
import rotating
from rotating import DAY, DOMAIN, NODE, START, World

from certs import authority, bundle, keys, verify
from certs.errors import ChainError
from certs.profile import MAX_LIFETIME_S, CaKind
from controlplane import model
from controlplane.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)
from controlplane.services.mesh import join


@pytest.fixture(params=["memory", "sqlite"])
async def world(request, tmp_path):
    async with rotating.store_of(request.param, tmp_path) as store:
        made = World(tmp_path, store)
        await made.first()
        yield made


async def test_a_prepared_ca_is_published_and_signs_nothing(world) -> None:
    (one,) = world.planes
    before = one.made.node_ca
    made = await one.cas.prepare(NODE)
    assert (made.state, made.replica) == ("prepared", "one")
    assert bytes.fromhex(made.certificate) in one.node_cas
    assert one.made.node_ca == before
    assert one.accepts(await one.issue())


async def test_a_ca_that_a_connected_agent_does_not_know_is_never_used(world) -> None:
    (one,) = world.planes
    lagging = one.connect(f"spiffe://{DOMAIN}/fr/paris/slow")
    made = await one.cas.prepare(NODE)
    before = one.made.node_ca
    with pytest.raises(PreconditionError, match=f"not known yet to {lagging.spiffe_id}"):
        await one.cas.activate(made.key_id, force=False)
    one.linked = False
    one.acknowledge()
    with pytest.raises(PreconditionError, match="a replica that is not reached"):
        await one.cas.activate(made.key_id, force=False)
    assert one.made.node_ca == before
    assert await one.states() == ["active", "prepared"]
    one.linked = True
    await one.cas.activate(made.key_id, force=False)
    assert one.made.node_ca.certificate.hex() == made.certificate
    assert await one.states() == ["active", "old"]


async def test_force_goes_past_those_that_lag(world) -> None:
    (one,) = world.planes
    one.connect("a", generation=0)
    made = await one.cas.prepare(NODE)
    assert (await one.cas.activate(made.key_id, force=True)).state == "active"


async def test_what_the_old_ca_signed_is_accepted_until_it_is_retired_and_then_refused(world) -> None:
    (one,) = world.planes
    leaf = await one.issue()
    old = next(row for row in await one.cas.all() if row.kind == "node")
    made = await one.cas.prepare(NODE)
    await one.cas.activate(made.key_id, force=False)
    assert one.accepts(leaf)
    assert one.accepts(await one.issue("other"))
    with pytest.raises(PreconditionError, match="may live for"):
        await one.cas.retire(old.key_id, force=False)
    await one.cas.retire(old.key_id, force=True)
    with pytest.raises(ChainError, match="not issued by a CA we accept"):
        one.accepts(leaf)
    assert one.accepts(await one.issue("other"))


async def test_an_old_ca_is_needed_as_long_as_a_leaf_or_its_grace_can_last(world) -> None:
    (one,) = world.planes
    for kind in CaKind:
        made = await one.cas.prepare(kind)
        await one.cas.activate(made.key_id, force=False)
    needed = {row.kind: one.cas.needed_until(row) for row in await one.cas.all() if row.state == "old"}
    dead = START + MAX_LIFETIME_S + 60
    assert needed == {"node": dead + DAY, "control-plane": dead, "workload": dead}


async def test_the_active_ca_is_not_retired_by_accident(world) -> None:
    (one,) = world.planes
    (active,) = [row for row in await one.cas.all() if row.kind == "node"]
    with pytest.raises(PreconditionError, match="is active"):
        await one.cas.retire(active.key_id, force=False)
    await one.cas.retire(active.key_id, force=True)
    with pytest.raises(UnavailableError, match="no `node` CA is active here"):
        await one.issue()


async def test_what_is_not_there_or_not_prepared_is_refused(world) -> None:
    (one,) = world.planes
    (active,) = [row for row in await one.cas.all() if row.kind == "node"]
    with pytest.raises(PreconditionError, match="is active, not prepared"):
        await one.cas.activate(active.key_id, force=True)
    for verb in (one.lifecycle.activate, one.lifecycle.retire):
        with pytest.raises(NotFoundError):
            await verb("nobody", force=True)
    with pytest.raises(InvalidError, match="no kind of authority"):
        await one.lifecycle.prepare("root")


async def test_a_replica_holds_few_cas_of_a_kind(world) -> None:
    (one,) = world.planes
    for _ in range(3):
        await one.cas.prepare(NODE)
    with pytest.raises(PreconditionError, match="has `4` CAs of this kind"):
        await one.cas.prepare(NODE)


async def test_any_replica_activates_and_only_the_one_that_holds_the_key_issues_with_it(world) -> None:
    one, two = world.planes[0], await world.join("two")
    made = await one.cas.prepare(NODE)
    await two.publisher.refresh()
    await two.cas.activate(made.key_id, force=False)
    await one.publisher.refresh()  # as its watch of the mesh does
    assert one.made.node_ca.certificate.hex() == made.certificate
    assert two.made.node_ca.certificate.hex() != made.certificate
    assert two.accepts(await one.issue())


async def test_two_that_activate_at_once_do_not_both_win(world) -> None:
    (one,) = world.planes
    first, second = await one.cas.prepare(NODE), await one.cas.prepare(NODE)
    stale = await one.cas._find(first.key_id)
    await one.cas.activate(first.key_id, force=False)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        await one.cas._write((stale, "active"))
    await one.cas.activate(second.key_id, force=False)
    assert await one.states() == ["active", "old", "old"]


# --- the root is elsewhere ---------------------------------------------------------------------------------------


def offline(plane) -> None:
    """Its root key is taken away."""
    plane.signer.destroy("root")


async def test_without_a_root_a_request_goes_out_and_a_certificate_comes_in(world) -> None:
    (one,) = world.planes
    root_key = one.signer.ceremony_key("root")
    offline(one)
    row, csr = await one.lifecycle.request("node")
    assert (row.state, row.certificate) == ("requested", "")
    assert len(one.node_cas) == 1
    assert (await one.lifecycle.request("node"))[0].key_id == row.key_id  # asked again: the same key
    kind, public = authority.read_request(csr, DOMAIN)
    der = authority.make_issuing_ca(kind, one.made.root, root_key, public, serial=7, now=START)
    made = await one.cas.install(der)
    assert (made.state, made.key_id) == ("prepared", row.key_id)
    assert await one.cas.install(der) == made  # the same again changes nothing
    assert der in one.node_cas
    await one.cas.activate(made.key_id, force=False)
    assert one.made.node_ca.certificate == der


async def test_what_comes_back_must_be_what_was_asked_for_by_our_root(world) -> None:
    (one,) = world.planes
    root_key, stranger = one.signer.ceremony_key("root"), keys.generate_p256()
    offline(one)
    _, csr = await one.lifecycle.request("node")
    _, public = authority.read_request(csr, DOMAIN)
    make = authority.make_issuing_ca
    fields = {"serial": 7, "now": START}
    other_root = authority.make_root(DOMAIN, stranger, serial=1, now=START)
    wrong = {
        "another kind": make(CaKind.WORKLOAD, one.made.root, root_key, public, **fields),
        "another root": make(NODE, other_root, stranger, public, **fields),
        "ended": make(NODE, one.made.root, root_key, public, serial=7, now=START - 31 * DAY),
        "no certificate": b"not DER",
        "the root itself": one.made.root,
    }
    for what, der in wrong.items():
        with pytest.raises((InvalidError, NotFoundError)):
            await one.cas.install(der)
        assert len(one.node_cas) == 1, what
    another = make(NODE, one.made.root, root_key, stranger.public_key(), **fields)
    with pytest.raises(NotFoundError):
        await one.cas.install(another)  # a key that nobody asked for


async def test_a_replica_that_holds_the_root_signs_for_those_that_do_not(world) -> None:
    one, two = world.planes[0], await world.join("two")
    asked = await two.cas.prepare(NODE)
    assert asked.state == "requested"
    await one.cas.sign_what_is_due()
    await two.publisher.refresh()
    made = next(row for row in await two.cas.all() if row.key_id == asked.key_id)
    assert made.state == "prepared"
    verify.check_issuing_ca(bytes.fromhex(made.certificate), two.made.root, NODE, START)


async def test_the_root_signs_nothing_for_a_replica_that_was_removed_or_never_was(world) -> None:
    one, two = world.planes[0], await world.join("two")
    await join.remove(world.store, world.directory / "one", one.signer, "two", START)
    asked = await two.cas.prepare(NODE)  # it does not know
    await one.cas.sign_what_is_due()
    assert next(row for row in await one.cas.all() if row.key_id == asked.key_id).state == "requested"


async def test_the_root_signs_no_request_that_was_written_for_another(world) -> None:
    one, two = world.planes[0], await world.join("two")
    asked = await two.cas.prepare(NODE)
    stored = await two.cas._find(asked.key_id)
    thief = keys.generate_p256().public_key()
    forged = dataclasses.replace(stored.row, public=keys.spki(thief).hex(), key_id=bundle.key_id(thief))
    for change in (
        forged,
        dataclasses.replace(stored.row, replica="one"),
        dataclasses.replace(stored.row, proof=""),
    ):
        await world.store.commit(expect={}, put={stored.key: model.dump(change)})
        await one.cas.sign_what_is_due()
        (row,) = [row for row in await one.cas.all() if row.state == "requested"]
        assert row.certificate == ""
