"""Keys of JWT-SVIDs among several replicas: each has its own, none signs before all can know it, removed ones die."""

import json

import pytest

from certs.attributes import Attributes
from certs.csr import make_csr
from certs.keys import generate_p256
from certs.profile import Profile
from certs.spiffe import node_id
from certs.verify import NodeIdentity
from controlplane import model
from controlplane.errors import CorruptError, PreconditionError, UnavailableError
from controlplane.model import JwtRow, NodeRow
from controlplane.services import rows
from controlplane.services.authority import authorities
from controlplane.services.authority.jwt_authorities import JwtAuthorities
from controlplane.services.duty import Duty
from controlplane.services.housekeeping import Housekeeping
from controlplane.services.identity.workloads import Registry, WorkloadSvids
from controlplane.services.mesh import join, setup
from controlplane.services.mesh.replicas import Replicas
from controlplane.services.push.hub import AgentState, Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore
from policies.workloads import Workload

NOW, DOMAIN = 1_900_000_000, "acme.example"
ME = node_id(DOMAIN, "FR", "paris", "app")


class ControlPlane:
    """One replica without its network."""

    def __init__(self, store, made, name: str) -> None:
        self.store, self.made, self.hub, self.linked = store, made, Hub(), True
        self.replicas = Replicas(store, made, name, clock=lambda: NOW)
        self.publisher = Publisher(store, made, self.hub, lease_s=60, heartbeat_s=10, clock=lambda: NOW)
        self.jwt_keys = JwtAuthorities(
            store, made, name, self.hub, linked=lambda: self.linked, changed=self.publisher.refresh
        )
        self.svids = WorkloadSvids(
            store, made, self.jwt_keys, Profile(), may_issue=self.replicas.check_issues, clock=lambda: NOW
        )

    async def begin(self, witness: bytes | None = None) -> None:
        await self.replicas.register("127.0.0.1:1", witness=witness)
        await self.jwt_keys.ensure()
        await self.publisher.refresh()


class World:
    """A mesh in memory whose root lies in a directory, and a node with one workload."""

    def __init__(self, directory) -> None:
        self.directory, self.store = directory, MemoryStore()
        self.signer = FileSigner(directory / "one" / "keys", b"p" * 32)
        made = setup.make_mesh(DOMAIN, directory / "one", self.signer, NOW, "one")
        self.first = ControlPlane(self.store, made, "one")

    async def second(self) -> ControlPlane:
        signer = FileSigner(self.directory / "two" / "keys", b"p" * 32)
        asked = await join.request(self.store, signer, DOMAIN, "two")
        given = join.admit(asked, self.directory / "one", self.signer, NOW)
        made = ControlPlane(self.store, join.install(given, self.directory / "two", signer, asked), "two")
        await made.begin()
        return made


@pytest.fixture
async def world(tmp_path) -> World:
    made = World(tmp_path)
    await made.first.begin(made.signer.shared_key("witness-1"))
    row = NodeRow(
        trust_domain=DOMAIN, node="app", site="paris", jurisdiction="FR", state=model.ENROLLED, epoch=1
    )
    await made.store.commit(expect={}, put={rows.node_key("app", "paris"): model.dump(row)})
    registry = Registry(made.store, made.first.publisher.refresh)
    await registry.register("app", "paris", Workload(name="web", selectors=("unix:uid:1",)))
    return made


def caller() -> NodeIdentity:
    key = generate_p256().public_key()
    return NodeIdentity(
        spiffe_id=ME, epoch=1, attributes=Attributes(), serial=1, not_before=NOW, not_after=NOW + 3600,
        public_key=key, spki_sha256=b"",
    )  # fmt: skip


async def kept(store) -> list[str]:
    found = [item.key for prefix in ("certificate/", rows.JWTS) for item in (await store.list(prefix))[0]]
    return sorted(found)


async def test_a_newcomer_signs_nothing_for_workloads_before_its_keys_may_be_used(world) -> None:
    second = await world.second()
    for asked in (
        second.svids.issue(caller(), "web", make_csr(generate_p256())),
        second.svids.mint(caller(), "web", ["api"]),
    ):
        with pytest.raises(UnavailableError, match="does not issue yet"):
            await asked
    assert await kept(world.store) == []
    generation = second.publisher.issue.generation
    assert len(second.publisher.anchors.jwt_keys) == 2  # so that whoever knows this generation knows its key
    await second.replicas.activate(second.hub, generation, lambda: True, 60)
    assert (await second.svids.issue(caller(), "web", make_csr(generate_p256())))[1] == (
        second.made.workload_ca.certificate
    )
    await second.svids.mint(caller(), "web", ["api"])
    assert len(await kept(world.store)) == 2


async def test_a_key_is_activated_by_any_replica_and_only_where_it_is(world) -> None:
    second = await world.second()
    before = await second.jwt_keys.signing_key()
    made = await second.jwt_keys.prepare()
    assert await second.jwt_keys.signing_key() == before
    await world.first.jwt_keys.activate(made.key_id, force=False)
    assert (await second.jwt_keys.signing_key()).key_id == made.key_id
    states = {(one.replica, one.state) for one in await world.first.jwt_keys.all()}
    assert states == {("one", "active"), ("two", "active"), ("two", "old")}
    assert (await world.first.jwt_keys.signing_key()).replica == "one"


async def test_a_key_waits_for_agents_that_cannot_be_heard(world) -> None:
    first = world.first
    made = await first.jwt_keys.prepare()
    first.linked = False
    with pytest.raises(PreconditionError, match="a replica that is not reached"):
        await first.jwt_keys.activate(made.key_id, force=False)
    first.linked = True
    first.hub.agents["a"] = AgentState("a", connected=True, generation=1, replica="two")
    with pytest.raises(PreconditionError, match="not known yet to a"):
        await first.jwt_keys.activate(made.key_id, force=False)
    first.hub.agents["a"].generation = first.publisher.issue.generation
    assert (await first.jwt_keys.activate(made.key_id, force=False)).state == "active"


async def test_what_a_removed_replica_signed_is_believed_no_more_even_if_it_goes_on(world) -> None:
    second = await world.second()
    await join.remove(world.store, world.directory / "one", world.signer, "two", NOW)
    with pytest.raises(UnavailableError, match="no JWT key is active"):
        await second.jwt_keys.signing_key()
    await second.jwt_keys.ensure()  # it does not know
    await world.first.publisher.refresh()
    anchors = world.first.publisher.anchors
    (mine,) = [one for one in await world.first.jwt_keys.all() if one.replica == "one"]
    assert anchors.jwt_keys == (bytes.fromhex(mine.public),)
    assert anchors.workload_cas == (world.first.made.workload_ca.certificate,)


async def test_housekeeping_forgets_tokens_that_ended_and_certificates_of_workloads_in_their_time(
    world,
) -> None:
    store, first = world.store, world.first
    await first.svids.issue(caller(), "web", make_csr(generate_p256()))
    await first.svids.mint(caller(), "web", ["api"])
    ended = model.dump(JwtRow(text="t", expires_at=NOW - 1))
    await store.commit(expect={}, put={rows.jwt_key(NOW - 1, "x"): ended})
    duty = Duty(store, "d", "one")
    assert await duty.hold()
    duty.done = rows.hour(NOW) - 100
    keeping = Housekeeping(store, first.publisher, duty, grace_s=0, clock=lambda: NOW)
    await keeping.once()
    assert [key.split("/")[0] for key in await kept(store)] == ["certificate", "jwt"]
    later = Housekeeping(store, first.publisher, duty, grace_s=0, clock=lambda: NOW + 3 * 86400)
    await later.once()
    assert await kept(store) == []


def test_a_mesh_from_before_workloads_had_a_ca_says_what_to_do(tmp_path) -> None:
    signer = FileSigner(tmp_path / "keys", b"p" * 32)
    setup.make_mesh(DOMAIN, tmp_path, signer, NOW)
    document = json.loads((tmp_path / authorities.FILE).read_text())
    del document["workload_ca"]
    (tmp_path / authorities.FILE).write_text(json.dumps(document))
    with pytest.raises(CorruptError, match="before workloads had a CA") as found:
        authorities.load(tmp_path, signer)
    assert "writ init" in found.value.hint
