"""Control planes without their network, on a store of the test's choice and a clock that the test moves."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from certs import keys, verify
from certs.document_keys import ED25519
from certs.profile import CaKind, Profile
from certs.verify import NodeIdentity
from controlplane import model
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.services.authority import authorities, root_files
from controlplane.services.authority.acknowledged import Acknowledged
from controlplane.services.authority.ca_authorities import CaAuthorities
from controlplane.services.authority.endings import Endings
from controlplane.services.authority.jwt_authorities import JwtAuthorities
from controlplane.services.authority.lifecycle import Lifecycle
from controlplane.services.authority.rotation import Pace, Rotation
from controlplane.services.authority.tainting import Tainting
from controlplane.services.duty import Duty
from controlplane.services.housekeeping import Housekeeping
from controlplane.services.identity.issuance import Issuance, Wanted
from controlplane.services.mesh import join, root_making, setup
from controlplane.services.mesh.replicas import Replicas
from controlplane.services.mesh.root_rotation import RootRotation
from controlplane.services.push.hub import AgentState, Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore
from policies.trusted import FEATURES, TrustedDocuments

START, DOMAIN = 1_900_000_000, "acme.example"
DAY = 86_400
LIFE = 30 * DAY
LEASE = 60
NODE = CaKind.NODE


@dataclass
class Clock:
    """Wall clock of a whole mesh."""

    now: float = START

    def __call__(self) -> float:
        return self.now


class Plane:
    """One replica: everything that rotates, wired as `main` does."""

    def __init__(self, store, made, signer: FileSigner, name: str, clock: Clock, directory: Path) -> None:
        self.store, self.made, self.signer, self.name, self.clock = store, made, signer, name, clock
        self.hub, self.linked = Hub(), True
        self.replicas = Replicas(store, made, name, clock=clock)
        self.publisher = Publisher(store, made, self.hub, lease_s=LEASE, heartbeat_s=10, clock=clock)
        changed = self.publisher.refresh
        self.cas = CaAuthorities(
            store, made, signer, name,
            acknowledged=Acknowledged(self.hub, lambda: self.linked),
            changed=changed, clock=clock, lifetime_s=LIFE, grace_s=DAY,
        )  # fmt: skip
        self.jwt_keys = JwtAuthorities(
            store, made, name, self.hub, linked=lambda: self.linked, changed=changed, clock=clock
        )
        self.root_rotation = RootRotation(
            store, made, signer, directory,
            acknowledged=Acknowledged(self.hub, lambda: self.linked), changed=changed, clock=clock,
        )  # fmt: skip
        self.lifecycle = Lifecycle(self.cas, self.jwt_keys)
        self.rotation = Rotation(self.lifecycle, Pace(lifetime_s=LIFE, patience_s=LEASE), clock=clock)
        self.tainting = Tainting(store, self.lifecycle, changed=changed, clock=clock)
        self.issuance = Issuance(store, made, Profile(), self.replicas.check_issues)
        endings = Endings(store, changed, svid_lifetime_s=3600, clock=clock)
        self.duty = Duty(store, "housekeeping", name, clock=clock)
        self.keeping = Housekeeping(
            store, self.publisher, self.duty, grace_s=DAY, chores=(endings.once,), clock=clock
        )

    async def begin(self, witness: bytes | None = None) -> None:
        await self.root_rotation.begin()
        await self.cas.begin()
        await self.replicas.register("127.0.0.1:1", witness=witness)
        await self.jwt_keys.ensure()
        await self.publisher.refresh()

    async def house(self) -> None:
        if await self.duty.hold():
            await self.keeping.once()

    def connect(self, name: str, generation: int | None = None) -> AgentState:
        state = self.hub.agents[name] = AgentState(name, connected=True)
        state.generation = self.generation if generation is None else generation
        state.features = FEATURES
        return state

    def acknowledge(self) -> None:
        """Every agent enforces what there is."""
        for state in self.hub.agents.values():
            state.generation = self.generation

    @property
    def generation(self) -> int:
        return self.publisher.issue.generation

    @property
    def node_cas(self) -> tuple[bytes, ...]:
        return self.publisher.anchors.node_cas

    async def states(self, kind: CaKind = NODE) -> list[str]:
        """Of our CAs of one kind, sorted."""
        return sorted(one.row.state for one in await self.cas.ours() if one.row.kind == kind.value)

    async def issue(self, name: str = "app") -> bytes:
        """A leaf for a node, as a renewal gives it."""
        stored = await rows.find(self.store, NodeRow, rows.node_key(name, "paris"))
        row = NodeRow(trust_domain=DOMAIN, node=name, site="paris", jurisdiction="FR", epoch=1)
        stored = stored or rows.Stored(rows.node_key(name, "paris"), row, 0)
        key = keys.generate_p256()
        wanted = Wanted(
            node=stored, becomes=stored.row, public_key=key.public_key(), idempotency_key=key_name(key)
        )
        return (await self.issuance.grant(wanted, int(self.clock()))).chain[0]

    def accepts(self, leaf: bytes) -> NodeIdentity:
        """As every agent does; ChainError if not."""
        return verify.verify_node(leaf, self.node_cas, DOMAIN, int(self.clock()))


def key_name(key) -> str:
    return keys.spki_sha256(key.public_key()).hex()


@dataclass
class World:
    """A mesh whose root lies with its first replica."""

    directory: Path
    store: object
    clock: Clock = field(default_factory=Clock)
    planes: list[Plane] = field(default_factory=list)

    async def first(
        self, signer: FileSigner | None = None, algorithms: tuple[str, ...] = (ED25519,)
    ) -> Plane:
        signer = signer or FileSigner(self.directory / "one" / "keys", b"p" * 32)
        made = setup.make_mesh(DOMAIN, self.directory / "one", signer, int(self.clock()), "one", algorithms)
        plane = Plane(self.store, made, signer, "one", self.clock, self.directory / "one")
        await plane.begin(signer.shared_key("witness-1"))
        self.planes.append(plane)
        return plane

    async def join(self, name: str) -> Plane:
        """A replica that has no root, and may issue at once."""
        signer = FileSigner(self.directory / name / "keys", b"p" * 32)
        asked = await join.request(self.store, signer, DOMAIN, name)
        root = self.planes[0].signer
        given = join.admit(asked, self.directory / "one", root, int(self.clock()))
        made = join.install(given, self.directory / name, signer, asked)
        plane = Plane(self.store, made, signer, name, self.clock, self.directory / name)
        await plane.begin()
        await plane.replicas.activate(plane.hub, plane.generation, lambda: True, LEASE)
        self.planes.append(plane)
        for one in self.planes:
            await one.publisher.refresh()
        return plane

    def again(self, plane: Plane) -> Plane:
        """The same replica after a restart: what it has in memory is gone."""
        signer = FileSigner(self.directory / plane.name / "keys", b"p" * 32)
        made = authorities.load(self.directory / plane.name, signer)
        return Plane(self.store, made, signer, plane.name, self.clock, self.directory / plane.name)


@contextlib.asynccontextmanager
async def store_of(kind: str, directory: Path):
    store = MemoryStore() if kind == "memory" else SqliteStore.open(directory / "writ.db")
    yield store
    await store.close()


async def enrolled(store, name: str, **facts) -> None:
    row = NodeRow(
        trust_domain=DOMAIN,
        node=name,
        site="paris",
        jurisdiction="FR",
        state=model.ENROLLED,
        epoch=1,
        **facts,
    )
    await store.commit(expect={}, put={rows.node_key(name, "paris"): model.dump(row)})


def ceremony(world: World) -> bytes:
    """Where the root is, as `writ root rotate prepare --root` does it."""
    directory = world.directory / "one"
    signer = FileSigner(directory / "keys", b"p" * 32)
    made = authorities.load(directory, signer)
    changes = root_making.next_root(made, signer, int(world.clock()))
    root_files.save(directory, changes)
    return changes[-1].envelope.encode()


def agent(world: World) -> TrustedDocuments:
    """What an agent holds that pinned the first root."""
    return TrustedDocuments(
        root=world.planes[0].made.root, trust_domain=DOMAIN, node=f"spiffe://{DOMAIN}/fr/paris/app"
    )


def hears(held: TrustedDocuments, plane) -> TrustedDocuments:
    """Takes what its stream brings: all of it, or DocumentError."""
    now, anchors = int(plane.clock()), plane.publisher.anchors
    held.update_roots(anchors.root_changes)
    held.update_delegation(anchors.delegation, now)
    held.update_trust(plane.publisher.issue.trust, now)
    held.update_heartbeat(plane.publisher.issue.heartbeat, now)
    return held
