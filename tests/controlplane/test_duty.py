"""One at a time: a CA that waits until it is known, a duty that is fenced, housekeeping that forgets only what is dead."""

import asyncio
import contextlib
import dataclasses
import time

import pytest

from controlplane import model
from controlplane.authority_rows import DelegationRow, ReplicaRow
from controlplane.errors import ConflictError, CorruptError, ExistsError, PreconditionError, UnavailableError
from controlplane.model import CertificateRow, PolicyState, TokenRow
from controlplane.services import rows
from controlplane.services.duty import TAKE_OVER_S, Duty
from controlplane.services.housekeeping import EVIDENCE_S, Housekeeping
from controlplane.services.mesh import join, setup
from controlplane.services.mesh.replicas import Replicas, read_delegation
from controlplane.services.push.hub import AgentState, Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore

NOW = 1_900_000_000
DOMAIN = "acme.example"


@dataclasses.dataclass
class World:
    """A mesh of one replica in memory, and what is needed to let others join."""

    store: MemoryStore
    root: object
    signer: FileSigner
    made: object

    async def joined(self, tmp_path, name: str):
        signer = FileSigner(tmp_path / name / "keys", b"p" * 32)
        asked = await join.request(self.store, signer, DOMAIN, name)
        given = join.admit(asked, self.root, self.signer, NOW)
        return join.install(given, tmp_path / name, signer, asked)


@pytest.fixture
async def world(tmp_path) -> World:
    root = tmp_path / "root"
    signer = FileSigner(root / "keys", b"p" * 32)
    made = setup.make_mesh(DOMAIN, root, signer, NOW, "one")
    store = MemoryStore()
    first = Replicas(store, made, "one", clock=lambda: NOW)
    await first.register("one:1", witness=signer.shared_key("witness-1"))
    assert first.issues
    return World(store, root, signer, made)


# --- a newcomer's CA ---------------------------------------------------------------------------------------------


async def test_a_new_ca_is_not_used_before_every_connected_agent_knows_it(world, tmp_path) -> None:
    made = await world.joined(tmp_path, "two")
    second, hub = Replicas(world.store, made, "two", clock=lambda: NOW), Hub()
    await second.register("two:1", witness=None)
    with pytest.raises(UnavailableError, match="does not issue yet"):
        second.check_issues()
    hub.agents = {name: AgentState(name, connected=True, generation=4, replica="one") for name in "ab"}
    linked = False
    activating = asyncio.ensure_future(second.activate(hub, 5, lambda: linked, 60))
    for step in ("a", "b"):
        hub.agents[step].generation = 5
        hub.agent_moved(hub.agents[step])
        await asyncio.sleep(0)
        assert not second.issues
    linked = True  # until then there may be agents that we have not heard of
    hub.look_again()
    await activating
    second.check_issues()
    row = await rows.read(world.store, ReplicaRow, rows.replica_key("two"), "replica")
    assert row.row.issues


async def test_an_agent_that_is_silent_delays_a_new_ca_by_one_lease_at_most(world, tmp_path) -> None:
    made = await world.joined(tmp_path, "two")
    second, hub = Replicas(world.store, made, "two", clock=lambda: NOW), Hub()
    await second.register("two:1", witness=None)
    hub.agents = {"a": AgentState("a", connected=True, generation=0)}
    await second.activate(hub, 5, lambda: True, 0)
    assert second.issues


async def test_all_cas_stand_in_the_trust_document_from_the_generation_of_the_joining_on(
    world, tmp_path
) -> None:
    publisher = Publisher(world.store, world.made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW)
    await publisher.refresh()
    before, alone = publisher.issue.generation, publisher.anchors
    made = await world.joined(tmp_path, "two")
    assert publisher.anchors == alone
    await Replicas(world.store, made, "two", clock=lambda: NOW).register("two:1", witness=None)
    await publisher.refresh()
    assert publisher.issue.generation > before
    for kind in ("node_ca", "control_plane_ca", "workload_ca"):
        wanted = {getattr(one, kind).certificate for one in (world.made, made)}
        assert set(getattr(publisher.anchors, f"{kind}s")) == wanted
    other = Publisher(world.store, made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW)
    await other.refresh()
    assert other.issue.trust_digest == publisher.issue.trust_digest


async def test_two_that_were_admitted_at_once_do_not_lose_each_others_key(world, tmp_path) -> None:
    two, three = [await world.joined(tmp_path, name) for name in ("two", "three")]
    await Replicas(world.store, two, "two", clock=lambda: NOW).register("two:1", witness=None)
    with pytest.raises(PreconditionError, match="has not delegated"):
        await Replicas(world.store, three, "three", clock=lambda: NOW).register("three:1", witness=None)
    three = await world.joined(tmp_path, "three")
    await Replicas(world.store, three, "three", clock=lambda: NOW).register("three:1", witness=None)
    newest = await rows.read(world.store, DelegationRow, rows.DELEGATION, "delegation")
    keys = read_delegation(newest.row.envelope.encode(), world.made.root).keys
    assert set(keys) == {made.document_key for made in (world.made, two, three)}


async def test_a_removed_replica_is_gone_from_cas_and_document_keys(world, tmp_path) -> None:
    made = await world.joined(tmp_path, "two")
    second = Replicas(world.store, made, "two", clock=lambda: NOW)
    await second.register("two:1", witness=None)
    with pytest.raises(PreconditionError, match="only replica that issues"):
        await join.remove(world.store, world.root, world.signer, "one", NOW)
    await join.remove(world.store, world.root, world.signer, "two", NOW)
    publisher = Publisher(world.store, world.made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW)
    await publisher.refresh()
    assert publisher.anchors.node_cas == (world.made.node_ca.certificate,)
    assert publisher.anchors.workload_cas == (world.made.workload_ca.certificate,)
    with pytest.raises(PreconditionError, match="has not delegated"):
        await second.register("two:1", witness=None)


async def test_a_replica_of_another_root_or_with_other_keys_is_refused(world, tmp_path) -> None:
    signer = FileSigner(tmp_path / "other" / "keys", b"p" * 32)
    foreign = setup.make_mesh(DOMAIN, tmp_path / "other", signer, NOW)
    before = await world.store.list("")
    with pytest.raises(CorruptError, match="another root"):
        await Replicas(world.store, foreign, "two", clock=lambda: NOW).register("x:1", witness=None)
    made = await world.joined(tmp_path, "two")
    with pytest.raises(ExistsError, match="with other keys"):
        await Replicas(world.store, made, "one", clock=lambda: NOW).register("x:1", witness=None)
    assert await world.store.list("") == before


async def test_a_delegation_that_the_root_did_not_sign_moves_nobody(world) -> None:
    stored = await rows.read(world.store, DelegationRow, rows.DELEGATION, "delegation")
    forged = dataclasses.replace(
        stored.row, version=99, envelope=stored.row.envelope.replace('"sig":"M', '"sig":"N')
    )
    await world.store.commit(expect={}, put={stored.key: model.dump(forged), rows.MESH: b"{}"})
    publisher = Publisher(world.store, world.made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW)
    with pytest.raises(CorruptError, match="not signed by the root"):
        await publisher.refresh()
    assert publisher.issue is None


# --- duties ------------------------------------------------------------------------------------------------------


async def test_a_holder_that_was_paused_writes_nothing_when_it_comes_back() -> None:
    store, clock = MemoryStore(), [0.0]
    first, second = (Duty(store, "d", name, lambda: clock[0]) for name in ("one", "two"))
    assert await first.hold()
    assert not await second.hold()
    clock[0] += TAKE_OVER_S - 1
    assert not await second.hold()
    clock[0] += 1
    assert await second.hold()
    with pytest.raises(ConflictError):
        await first.commit(expect={}, put={"work": b"stale"})
    await second.commit(expect={}, put={"work": b"fresh"})
    assert (await store.get("work")).value == b"fresh"
    assert not await first.hold()


async def test_a_holder_that_works_is_not_taken_over_however_late_its_clock() -> None:
    store, clock = MemoryStore(), [0.0]
    first, second = Duty(store, "d", "one", lambda: -1e9), Duty(store, "d", "two", lambda: clock[0])
    assert await first.hold()
    for _ in range(5):
        clock[0] += TAKE_OVER_S / 2
        assert not await second.hold()
        assert await first.hold()


async def test_housekeeping_forgets_dead_certificates_and_what_belongs_to_them_only(world) -> None:
    store = world.store
    old, young = NOW - 100 * 86400, NOW
    for serial, ends in (("dead", old), ("alive", young)):
        row = CertificateRow(
            serial=serial, spiffe_id="s", epoch=1, not_before=0, not_after=ends, spki="", key_name="",
            tbs="", beside=[f"idempotent/{serial}", f"successor/{serial}"],
        )  # fmt: skip
        put = dict.fromkeys(row.beside, b"{}")
        await store.commit(expect={}, put={rows.certificate_key(serial, ends): model.dump(row), **put})
    publisher = Publisher(store, world.made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW)
    duty = Duty(store, "d", "one")
    duty.done = rows.hour(old) - 2
    assert await duty.hold()
    await Housekeeping(store, publisher, duty, grace_s=0, clock=lambda: NOW).once()
    left = [
        item.key
        for prefix in ("certificate/", "idempotent/", "successor/")
        for item in (await store.list(prefix))[0]
    ]
    assert left == [rows.certificate_key("alive", young), "idempotent/alive", "successor/alive"]
    assert duty.done == rows.hour(NOW - 86400) - 1


async def test_evidence_is_forgotten_when_no_replica_could_still_take_it(world) -> None:
    clock = [float(NOW)]
    publisher = Publisher(world.store, world.made, Hub(), lease_s=60, heartbeat_s=1)
    duty = Duty(world.store, "d", "one", clock=lambda: clock[0])
    keeping = Housekeeping(world.store, publisher, duty, grace_s=60, clock=lambda: clock[0])
    put = {
        rows.token_key(name): model.dump(TokenRow(node="a", site="b", expires_at=ends, used_by=used))
        for name, ends, used in (("spent", NOW, "i" * 20), ("ended", NOW + 1, ""), ("alive", NOW + 600, ""))
    }
    await world.store.commit(expect={}, put=put)

    async def left() -> list[str]:
        assert await duty.hold()
        await keeping.once()
        return [item.key for item in (await world.store.list(rows.TOKENS))[0]]

    assert len(await left()) == 3
    clock[0] = NOW + EVIDENCE_S
    assert await left() == ["token/alive", "token/ended"]
    clock[0] += 600
    assert await left() == []


async def test_a_rollout_whose_replica_died_is_ended_once_agents_enforce_it(world) -> None:
    store, clock = world.store, [float(NOW)]
    await store.commit(
        expect={}, put={rows.POLICY: model.dump(PolicyState(minimum=1, now=2)), rows.MESH: b"{}"}
    )
    hub = Hub()
    publisher = Publisher(store, world.made, hub, lease_s=60, heartbeat_s=10, clock=lambda: NOW)
    duty = Duty(store, "d", "one")
    assert await duty.hold()
    keeping = Housekeeping(store, publisher, duty, grace_s=0, clock=lambda: clock[0])

    async def minimum() -> int:
        clock[0] += 100
        await keeping.once()
        return (await rows.policy_state(store)).row.minimum

    await keeping.once()
    assert await minimum() == 1  # nobody is connected: after a restart that says nothing
    hub.agents["a"] = AgentState("a", connected=True, policy_version=1)
    assert await minimum() == 1
    hub.agents["a"].policy_version = 2
    assert await minimum() == 2


async def test_refreshes_that_come_together_share_a_signature(world) -> None:
    publisher = Publisher(world.store, world.made, Hub(), lease_s=60, heartbeat_s=10, clock=time.time)
    signed = []
    original = publisher._sign_trust

    async def counted():
        signed.append(1)
        await asyncio.sleep(0)  # as every other store
        return await original()

    publisher._sign_trust = counted
    await asyncio.gather(*(publisher.refresh() for _ in range(50)))
    assert len(signed) <= 2
    with contextlib.suppress(ConflictError):
        await world.store.commit(expect={}, put={rows.MESH: b"{}"})
    await publisher.refresh()
    assert publisher.issue.generation == (await world.store.get(rows.MESH)).revision
