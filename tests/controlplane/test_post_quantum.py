"""A mesh whose documents are signed twice: every replica does so, and an agent accepts no less, from its own disk neither."""

import json
from dataclasses import replace

import pytest
import workloads
from workloads import CODE, Workload, eventually, node_of, status

from certs import document_keys
from certs.document_keys import ALGORITHMS, ED25519
from controlplane.authority_rows import DelegationRow
from controlplane.errors import InvalidError
from controlplane.services import rows
from controlplane.services.mesh import join, setup
from controlplane.services.mesh.replicas import Replicas, read_delegation
from controlplane.services.push.hub import Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore
from policies.trusted import TrustedDocuments

NOW = 1_800_000_000
DOMAIN = "acme.example"
NODE = f"spiffe://{DOMAIN}/de/berlin/gpu-1"


class World:
    """A store, and the machine where the root is."""

    def __init__(self, directory, algorithms: tuple[str, ...]) -> None:
        self.directory, self.store = directory, MemoryStore()
        self.signer = FileSigner(directory / "keys", b"p" * 32)
        self.made = setup.make_mesh(DOMAIN, directory, self.signer, NOW, "one", algorithms)

    async def begin(self) -> None:
        first = Replicas(self.store, self.made, "one", clock=lambda: NOW)
        await first.register("one:1", witness=self.signer.shared_key("witness-1"))

    async def asked(self, name: str) -> tuple[FileSigner, join.Request]:
        signer = FileSigner(self.directory / name / "keys", b"p" * 32)
        return signer, await join.request(self.store, signer, DOMAIN, name)

    async def published(self, made) -> tuple[bytes, bytes, bytes]:
        """Delegation, trust document and heartbeat of a replica."""
        publisher = Publisher(self.store, made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: NOW)
        await publisher.refresh()
        return publisher.anchors.delegation, publisher.issue.trust, publisher.issue.heartbeat


@pytest.fixture
async def world(tmp_path) -> World:
    made = World(tmp_path, ALGORITHMS)
    await made.begin()
    return made


async def test_a_replica_that_joins_signs_with_what_the_root_demands(world, tmp_path) -> None:
    signer, asked = await world.asked("two")
    given = join.admit(asked, world.directory, world.signer, NOW)
    made = join.install(given, tmp_path / "two", signer, asked)
    await Replicas(world.store, made, "two", clock=lambda: NOW).register("two:1", witness=None)
    newest = await rows.read(world.store, DelegationRow, rows.DELEGATION, "delegation")
    delegation = read_delegation(newest.row.envelope.encode(), made.root)
    assert (delegation.algorithms, set(delegation.keys)) == (
        ALGORITHMS,
        {world.made.document_key, made.document_key},
    )
    for replica in (world.made, made):
        delegated, trust, beat = await world.published(replica)
        agent = TrustedDocuments(root=made.root, trust_domain=DOMAIN, node=NODE)
        agent.update_delegation(delegated, NOW)
        agent.update_trust(trust, NOW)
        agent.update_heartbeat(beat, NOW)
        assert len(json.loads(beat)["signatures"]) == 2


async def test_a_request_with_less_than_the_root_demands_is_not_admitted(world, tmp_path) -> None:
    signer, asked = await world.asked("two")
    part, _ = document_keys.parts(bytes.fromhex(asked.document_key))
    less = replace(asked, document_key=part.public.hex(), proof="")
    less = replace(less, proof=signer.sign("documents-two", less.proven()).hex())
    with pytest.raises(InvalidError, match="signed by ed25519 and ml-dsa-65"):
        join.admit(less, world.directory, world.signer, NOW)
    first, second = asked.proof.split()
    for proof in ("", first, second, f"{second} {first}", f"{first} {first}", f"{first} {second} {second}"):
        with pytest.raises(InvalidError):
            join.admit(replace(asked, proof=proof), world.directory, world.signer, NOW)


async def test_more_than_the_root_demands_is_not_admitted_either(tmp_path) -> None:
    """One key of two algorithms among others of one would let nobody verify."""
    world = World(tmp_path, (ED25519,))
    await world.begin()
    signer, asked = await world.asked("two")
    assert document_keys.algorithms(bytes.fromhex(asked.document_key)) == (ED25519,)
    pair = setup.document_key(signer, "documents-two", ALGORITHMS)
    more = replace(asked, document_key=pair.hex(), proof="")
    names = ("documents-two", "documents-two-ml-dsa-65")
    more = replace(more, proof=" ".join(signer.sign(name, more.proven()).hex() for name in names))
    with pytest.raises(InvalidError, match="signed by ed25519"):
        join.admit(more, world.directory, world.signer, NOW)


def test_an_agent_takes_nothing_that_was_stripped_of_one_signature() -> None:
    with workloads.one_node(init_options=("--post-quantum",), heartbeat_s=10.0, lease_s=30) as mesh:
        node = node_of(mesh)
        workloads.register(mesh, "web")
        with Workload(node.workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
        file = node.state / "documents" / "trust.json"
        document = json.loads(file.read_text())
        assert len(document["signatures"]) == 2
        mesh.control_plane.kill()
        node.agent.kill()
        for keep in (document["signatures"][:1], document["signatures"][1:]):
            file.write_text(json.dumps({**document, "signatures": keep}))
            node.agent.start()
            node.agent.ports()
            with Workload(node.workload_socket) as caller:
                eventually(lambda caller=caller: status(caller.svids) == CODE.UNAVAILABLE)
            assert "signed by `0` of the keys" in node.agent.log.read_text()
            node.agent.kill()
        file.write_text(json.dumps(document))
        node.agent.start()
        node.agent.ports()
        with Workload(node.workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
