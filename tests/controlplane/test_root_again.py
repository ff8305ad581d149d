"""What the root signs again and again: by itself where it is, by a ceremony where it is not, and nothing that it would regret."""

import dataclasses
import json

import pytest
import rotating
from rotating import DAY, DOMAIN, START, World

from certs import crl, keys, verify
from controlplane import model
from controlplane.authority_rows import RevokedCaRow
from controlplane.errors import ConflictError, ControlPlaneError, InvalidError
from controlplane.services import rows
from controlplane.services.authority import authorities, revoked_cas
from controlplane.services.mesh import join, root_again, setup
from controlplane.services.mesh.replicas import read_delegation
from controlplane.signer.file import FileSigner

YEAR = 365 * DAY


@pytest.fixture(params=["memory", "sqlite"])
async def world(request, tmp_path):
    async with rotating.store_of(request.param, tmp_path) as store:
        made = World(tmp_path, store)
        await made.first()
        yield made


async def listed(plane) -> crl.Listed:
    return revoked_cas.read((await revoked_cas.known(plane.store, plane.made.root)).der, plane.made.root)


async def serials(plane) -> dict[int, str]:
    return {one.serial: one.reason.name for one in (await listed(plane)).entries}


def serial_of(ca: bytes) -> int:
    return verify.load(ca).serial_number


async def key_of(plane, kind: str = "node") -> str:
    (found,) = [
        one.row.key_id for one in await plane.cas.ours() if (one.row.kind, one.row.state) == (kind, "active")
    ]
    return found


# --- the list ----------------------------------------------------------------------------------------------------


async def test_where_the_root_is_there_is_always_a_list_that_holds(world) -> None:
    (one,) = world.planes
    for _ in range(20):
        await one.cas.sign_what_is_due()
        found = await listed(one)
        assert found.this_update <= world.clock.now < found.next_update - 30 * DAY
        world.clock.now += 10 * DAY


async def test_every_way_out_of_the_mesh_leads_onto_the_list(world) -> None:
    one, two = world.planes[0], await world.join("two")
    tainted, retired, removed = one.made.node_ca, one.made.workload_ca, two.made.control_plane_ca
    await one.tainting.taint(await key_of(one), now=True, dry_run=False)
    await one.cas.retire(await key_of(one, "workload"), force=True)
    directory = world.directory / "one"
    await join.remove(one.store, directory, one.signer, "two", int(world.clock()))
    assert await serials(one) == {
        serial_of(tainted.certificate): "key_compromise",
        serial_of(retired.certificate): "superseded",
        **{
            serial_of(ca.certificate): "cessation_of_operation"
            for ca in (two.made.node_ca, removed, two.made.workload_ca)
        },
    }


async def test_one_that_is_tainted_is_listed_once_all_is_replaced(world) -> None:
    (one,) = world.planes
    stolen = serial_of(one.made.node_ca.certificate)
    await one.issue()
    await one.tainting.taint(await key_of(one), now=False, dry_run=False)
    for _ in range(2):
        await one.rotation.once()
    assert stolen not in await serials(one)
    world.clock.now += 240
    await one.issue()
    await one.house()
    await one.rotation.once()
    assert (await serials(one))[stolen] == "key_compromise"


async def test_a_ca_that_ends_is_not_listed_and_one_that_was_is_forgotten_by_us_when_it_ends(world) -> None:
    (one,) = world.planes
    await one.tainting.taint(await key_of(one), now=True, dry_run=False)
    assert len(await rows.every(one.store, RevokedCaRow, rows.REVOKED_CAS)) == 1
    for _ in range(40):
        world.clock.now += DAY
        await one.rotation.once()
        await one.house()
    left = await rows.every(one.store, RevokedCaRow, rows.REVOKED_CAS)
    assert all(one.row.not_after > world.clock.now for one in left)
    assert all(one.row.reason == "superseded" for one in left)


async def test_of_one_who_waits_for_the_root_nothing_is_listed(world) -> None:
    (one,) = world.planes
    one.signer.destroy("root")
    asked = await one.cas.prepare(rotating.NODE)
    await one.tainting.taint(asked.key_id, now=False, dry_run=False)
    assert await rows.every(one.store, RevokedCaRow, rows.REVOKED_CAS) == []


# --- the ceremony ------------------------------------------------------------------------------------------------


class Safe:
    """The root, where no control plane is."""

    def __init__(self, world: World) -> None:
        (one, *_) = world.planes
        self.directory = world.directory / "safe"
        self.signer = FileSigner(self.directory / "keys", b"p" * 32)
        (self.directory / authorities.FILE).write_text(
            (world.directory / "one" / authorities.FILE).read_text()
        )
        self.signer.adopt("root", one.signer.ceremony_key("root"))
        one.signer.destroy("root")
        self.clock = world.clock

    def sign(self, asked: root_again.Request, days: int = 180) -> root_again.Answer:
        now = int(self.clock())
        return root_again.sign(asked, self.directory, self.signer, now=now, crl_lifetime_s=days * DAY)


async def test_papers_travel_and_another_year_is_won(world) -> None:
    one, safe = world.planes[0], Safe(world)
    before = read_delegation(one.publisher.anchors.delegation, one.made.root)
    world.clock.now = before.expires - 10 * DAY
    await one.tainting.taint(await key_of(one), now=True, dry_run=False)
    papers = root_again.dumped(await root_again.request(one.store, one.made))
    assert "PRIVATE" not in papers
    given = root_again.dumped(safe.sign(root_again.load_request(papers)))
    paperwork = root_again.RootAgain(one.store, one.made, one.publisher.refresh)
    delegation, found = await paperwork.install(given)
    assert (delegation.version, delegation.keys) == (before.version + 1, before.keys)
    assert delegation.expires == world.clock.now + YEAR
    assert read_delegation(one.publisher.anchors.delegation, one.made.root) == delegation
    assert found == await listed(one)
    assert found.next_update == world.clock.now + 180 * DAY
    with pytest.raises(ConflictError, match="does not follow"):
        await paperwork.install(given)


async def test_an_answer_from_before_somebody_joined_undoes_nothing(world) -> None:
    one = world.planes[0]
    asked = await root_again.request(one.store, one.made)
    given = root_again.sign(
        asked, world.directory / "one", one.signer, now=int(world.clock()), crl_lifetime_s=DAY
    )
    two = await world.join("two")
    with pytest.raises(ConflictError, match="does not follow"):
        await root_again.install(one.store, given, one.made)
    assert two.made.document_key in read_delegation(one.publisher.anchors.delegation, one.made.root).keys


async def test_the_root_signs_no_delegation_that_it_has_replaced(world) -> None:
    """Else a request that somebody kept would bring back the key of a replica that was removed since."""
    one, two = world.planes[0], await world.join("two")
    old = await root_again.request(one.store, one.made)
    await join.remove(one.store, world.directory / "one", one.signer, "two", int(world.clock()))
    await one.publisher.refresh()
    safe = Safe(world)
    safe.sign(await root_again.request(one.store, one.made))
    with pytest.raises(InvalidError, match="has signed `4` since"):
        safe.sign(old)
    assert two.made.document_key in read_delegation(old.delegation.encode(), one.made.root).keys


async def test_an_answer_that_was_lost_on_its_way_is_given_again(world) -> None:
    one, safe = world.planes[0], Safe(world)
    asked = await root_again.request(one.store, one.made)
    lost = safe.sign(asked)
    world.clock.now += DAY
    again = safe.sign(asked)
    assert lost.delegation != again.delegation
    delegation, _ = await root_again.install(one.store, again, one.made)
    assert delegation.version == 3  # 2 is on a stick that nobody finds
    with pytest.raises(ConflictError, match="does not follow"):
        await root_again.install(one.store, lost, one.made)


async def test_what_was_listed_once_cannot_be_left_out(world) -> None:
    one, safe = world.planes[0], Safe(world)
    stolen = serial_of(one.made.node_ca.certificate)
    await one.tainting.taint(await key_of(one), now=True, dry_run=False)
    first = safe.sign(await root_again.request(one.store, one.made))
    await root_again.install(one.store, first, one.made)
    forgetful = dataclasses.replace(await root_again.request(one.store, one.made), revoked=[], crl="")
    world.clock.now += DAY
    again = safe.sign(forgetful)
    assert stolen in {one.serial for one in crl.read(bytes.fromhex(again.crl), one.made.root).entries}


def bent(asked: root_again.Request, **changes) -> root_again.Request:
    return dataclasses.replace(asked, **changes)


async def test_a_request_that_is_not_of_this_mesh_is_refused_and_nothing_is_signed(world, tmp_path) -> None:
    one, safe = world.planes[0], Safe(world)
    asked = await root_again.request(one.store, one.made)
    signer = FileSigner(tmp_path / "other" / "keys", b"p" * 32)
    foreign = setup.make_mesh(DOMAIN, tmp_path / "other", signer, START, "one")
    row = {"serial": "1f", "kind": "node", "replica": "one", "at": 1, "not_after": 2, "reason": "superseded"}
    refused = [
        bent(asked, root=foreign.root.hex()),
        bent(asked, trust_domain="other.example"),
        bent(asked, root="zz"),
        bent(asked, generation=-1),
        bent(asked, generation=1 << 200),
        bent(asked, delegation=foreign.delegation.decode()),
        bent(asked, delegation="{}"),
        bent(asked, crl="00"),
        bent(asked, revoked=[{**row, "serial": "-1"}]),
        bent(asked, revoked=[{**row, "serial": "x"}]),
        bent(asked, revoked=[{**row, "reason": "because"}]),
        bent(asked, revoked=[{**row, "more": 1}]),
        bent(asked, revoked=[7]),
    ]
    before = sorted(path.read_bytes() for path in safe.directory.glob("*.*"))
    for one_of in refused:
        with pytest.raises(InvalidError):
            safe.sign(one_of)
    assert sorted(path.read_bytes() for path in safe.directory.glob("*.*")) == before
    assert safe.sign(bent(asked, revoked=[row]))


async def test_an_answer_that_the_root_did_not_sign_is_refused_and_changes_nothing(world) -> None:
    one = world.planes[0]
    asked = await root_again.request(one.store, one.made)
    given = root_again.sign(
        asked, world.directory / "one", one.signer, now=int(world.clock()), crl_lifetime_s=DAY
    )
    thief = keys.generate_p256()
    forged = revoked_cas.make(
        one.made.root, lambda data: keys.sign(thief, data), [], [], generation=9, now=int(world.clock())
    )
    swapped = json.loads(given.delegation)
    swapped["payload"] = swapped["payload"][:-8] + "AAAAAAA="
    before = await one.store.snapshot([""])
    for bad in (
        dataclasses.replace(given, crl=forged.hex()),
        dataclasses.replace(given, crl=""),
        dataclasses.replace(given, root=""),
        dataclasses.replace(given, delegation=json.dumps(swapped)),
        dataclasses.replace(given, delegation=""),
    ):
        with pytest.raises(ControlPlaneError):
            await root_again.install(one.store, bad, one.made)
    assert await one.store.snapshot([""]) == before


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"root": 1}', "[" * 100_000, "x" * (5 << 20)])
def test_what_is_no_paper_is_said(text) -> None:
    for load in (root_again.load_request, root_again.load_answer):
        with pytest.raises(InvalidError, match="of `writ root`"):
            load(text)


def test_a_row_of_before_is_read() -> None:
    row = RevokedCaRow(serial="1f", kind="node", replica="one", at=1, not_after=2, reason="superseded")
    assert model.load(RevokedCaRow, model.dump(row)) == row
