"""Nodes without join tokens, end to end: a pod whose API server signs for it, and a machine with a certificate of its own."""

import asyncio
import dataclasses
import json
import sys
import time
import urllib.request
from pathlib import Path

import ca
import clients
import grpc
import pytest
from apiserver import ApiServer
from ca import Ca
from commands import writ
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from agent import config as agent_config
from agent import contact, enrol, identity, roots
from agent.controlplanes import ControlPlanes
from agent.renewing import Renewing
from certs import keys, verify
from certs.csr import make_csr
from controlplane.api import files
from controlplane.api.gen import admin_pb2, enrolment_pb2
from controlplane.cli.demo.mesh import Mesh, Node
from controlplane.cli.demo.processes import MeshError, Process
from policies.roots import Roots, pinned

pytestmark = [pytest.mark.timeout(120), pytest.mark.faults]
MACHINES = Ca("machines")


def settings(server: ApiServer, machines: Path) -> str:
    return f"""
[kubernetes]
issuer = "{server.issuer}"
api_server = "{server.url}"
ca_file = "{server.ca_file}"
token_file = "{server.client_token}"
service_accounts = ["models/llama"]
match = "pod={{node}}"
site = "berlin"
groups = ["models"]
class_ceiling = 2
reattest_s = 1

[metrics]
listen = "127.0.0.1:0"

[x509pop]
ca_files = ["{machines}"]
match = "dns={{node}}.{{site}}.dc.example"
tier = 3
reattest_s = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = ApiServer(tmp_path_factory.mktemp("cluster") / "api")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, server):
    directory = tmp_path_factory.mktemp("mesh")
    machines = directory / "machines.pem"
    machines.write_bytes(MACHINES.pem)
    with Mesh(directory, lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        with made.replicas[0].config.open("a") as file:
            file.write(settings(server, machines))
        made.start_control_plane()
        made.site("berlin", "DE")
        yield made


def status(mesh: Mesh) -> admin_pb2.Status:
    return mesh.call("GetStatus", admin_pb2.GetStatusRequest())


def node(mesh: Mesh, name: str, *attest: str) -> Node:
    """A node with evidence; its agent is not started yet."""
    directory = mesh.directory / name
    (directory / "var").mkdir(parents=True)
    lines = [
        f'state_dir = "{directory / "var"}"',
        f'control_planes = ["{mesh.replicas[0].api}"]',
        "[join]",
        f'root_sha256 = "{status(mesh).root_sha256}"',
        f'enrolment = ["127.0.0.1:{clients.ports(mesh)["enrolment"]}"]',
        "[attest]",
        *attest,
        '[ingress]\nlisten = "127.0.0.1:0"',
        '[egress]\nlisten = "127.0.0.1:0"',
        '[workload]\nsocket = ""',
    ]
    (directory / "agent.toml").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "agent", "--config", str(directory / "agent.toml")]
    agent = Process(f"agent {name}", command, directory / "agent.log", directory / "var" / "ports.json")
    made = mesh.nodes[name] = Node(name=name, directory=directory, agent=agent, server=None)
    return made


def pod(mesh: Mesh, name: str, token: str) -> tuple[Node, Path]:
    path = mesh.directory / f"{name}.token"
    path.write_text(token)
    return node(mesh, name, f'kubernetes_token_file = "{path}"'), path


def machine(mesh: Mesh, name: str, key=None) -> Node:
    own = key or ec.generate_private_key(ec.SECP256R1())
    leaf = MACHINES.machine(own, names=[x509.DNSName(f"{name}.dc.example")])
    certificate, key_file = mesh.directory / f"{name}.pem", mesh.directory / f"{name}.key"
    certificate.write_bytes(ca.pem(leaf))
    key_file.write_bytes(ca.pem_of(own))
    return node(mesh, name, f'certificate_file = "{certificate}"', f'key_file = "{key_file}"')


def started(made: Node) -> Node:
    made.agent.start()
    made.agent.ports()
    return made


def refused(made: Node) -> str:
    """The words with which an agent ends that does not become a node."""
    made.agent.start()
    with pytest.raises(MeshError) as caught:
        made.agent.ports()
    return str(caught.value)


def eventually(check, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def renew(mesh: Mesh, name: str) -> None:
    short, _, site = name.partition(".")
    mesh.call("RenewNode", admin_pb2.GetNodeRequest(node=short, site=site))


def wait_due(mesh: Mesh, name: str) -> None:
    """Until the evidence that was shown is older than a second, which is what both attestors ask for here."""
    eventually(lambda: time.time() >= mesh.find(name).attested_at + 1)


def certificate(mesh: Mesh, made: Node) -> verify.NodeIdentity:
    root = files.read(made.state / roots.ROOT)
    held = identity.load(made.state, root, int(time.time()))
    return verify.verify_node(held.chain[0], [held.chain[1]], "demo.example", int(time.time()))


@pytest.fixture(scope="module")
def llama(mesh, server) -> tuple[Node, Path]:
    made, token = pod(mesh, "llama-1.berlin", server.token(pod="llama-1"))
    return started(made), token


@pytest.fixture(scope="module")
def gpu(mesh) -> Node:
    return started(machine(mesh, "gpu-1.berlin"))


def test_a_pod_is_a_node_by_its_service_account_token(mesh, llama) -> None:
    found, row = certificate(mesh, llama[0]), mesh.find("llama-1.berlin")
    assert (str(found.spiffe_id), found.epoch) == ("spiffe://demo.example/de/berlin/llama-1", 1)
    assert (found.attributes.tier, found.attributes.groups, found.attributes.class_ceiling) == (
        2,
        {"models"},
        2,
    )
    assert (row.attested_by, row.tier, row.state) == ("kubernetes", 2, "enrolled")
    mesh.wait_enforced("llama-1.berlin")


def test_a_machine_is_a_node_by_its_certificate(mesh, gpu) -> None:
    found, row = certificate(mesh, gpu), mesh.find("gpu-1.berlin")
    assert (found.spiffe_id.short, found.attributes.tier, found.attributes.groups) == (
        "gpu-1.berlin",
        3,
        set(),
    )
    assert (row.attested_by, row.tier) == ("x509pop", 3)
    mesh.wait_enforced("gpu-1.berlin")


def test_a_pod_shows_the_token_of_the_moment_when_it_renews(mesh, server, llama) -> None:
    made, token = llama
    before = mesh.find("llama-1.berlin")
    wait_due(mesh, "llama-1.berlin")
    token.write_text(server.token(pod="llama-2"))
    renew(mesh, "llama-1.berlin")
    eventually(lambda: "the evidence is of `llama-2.berlin`" in made.agent.log.read_text())
    assert mesh.find("llama-1.berlin").serial == before.serial
    token.write_text(server.token(pod="llama-1"))
    renew(mesh, "llama-1.berlin")
    eventually(lambda: mesh.find("llama-1.berlin").serial != before.serial)
    after = mesh.find("llama-1.berlin")
    assert (after.attested_at > before.attested_at, after.epoch) == (True, before.epoch)


def test_a_machine_whose_key_is_gone_does_not_renew(mesh, gpu) -> None:
    before, key = mesh.find("gpu-1.berlin"), mesh.directory / "gpu-1.berlin.key"
    kept = key.read_bytes()
    wait_due(mesh, "gpu-1.berlin")
    key.write_bytes(ca.pem_of(ec.generate_private_key(ec.SECP256R1())))
    renew(mesh, "gpu-1.berlin")
    eventually(lambda: "did not sign this" in gpu.agent.log.read_text())
    assert mesh.find("gpu-1.berlin").serial == before.serial
    key.write_bytes(kept)
    renew(mesh, "gpu-1.berlin")
    eventually(lambda: mesh.find("gpu-1.berlin").serial != before.serial)


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("other-account", {"account": "default"}, "enrols no nodes here"),
        ("other-audience", {"aud": ["https://kubernetes.default.svc"]}, "is not for `writ`"),
        ("ended", {"exp": int(time.time()) - 1, "iat": int(time.time()) - 601}, "has expired"),
    ],
)
def test_the_token_of_somebody_else_makes_no_node(mesh, server, name, changes, why) -> None:
    before = [one.spiffe_id for one in status(mesh).nodes]
    made, _ = pod(mesh, f"{name}.berlin", server.token(pod=name, **changes))
    assert why in refused(made)
    assert [one.spiffe_id for one in status(mesh).nodes] == before
    assert not (made.state / "identity.json").exists()


def test_a_token_that_was_read_by_somebody_else_is_of_no_use(mesh, server, llama) -> None:
    """It has enrolled its pod: it enrols no other key, and the pod's certificate goes on."""
    token = server.token(pod="llama-3")
    ours, _ = pod(mesh, "llama-3.berlin", token)
    started(ours)
    assert by_token(mesh, token) is grpc.StatusCode.PERMISSION_DENIED
    assert mesh.find("llama-3.berlin").epoch == 1
    server.delete_pod("uid-llama-4")
    assert by_token(mesh, server.token(pod="llama-4")) is grpc.StatusCode.PERMISSION_DENIED


def by_token(mesh: Mesh, token: str):
    """Enrol with a service-account token and a key of our own; the status if that is refused."""
    _, ca_ = asyncio.run(first_contact(mesh))
    shown = enrolment_pb2.AttestationEvidence(kubernetes=token)
    asked = enrolment_pb2.EnrolRequest(
        evidence=shown, csr=make_csr(keys.generate_p256()), idempotency_key="t" * 20
    )
    try:
        return clients.enrolment(mesh, ca_).Enrol(asked, timeout=20)
    except grpc.RpcError as exc:
        return exc.code()


async def first_contact(mesh: Mesh) -> tuple[Roots, bytes]:
    address = f"127.0.0.1:{clients.ports(mesh)['enrolment']}"
    return await contact.meet(address, status(mesh).root_sha256, int(time.time()))


def test_while_the_issuer_is_down_nobody_enrols_by_it_and_others_go_on(mesh, server, gpu, llama) -> None:
    port, before = server.port, {one.spiffe_id for one in status(mesh).nodes}
    made, token = pod(mesh, "late-1.berlin", server.token(pod="late-1"))
    server.stop()
    assert "does not answer" in refused(made)
    assert {one.spiffe_id for one in status(mesh).nodes} == before
    serial = mesh.find("gpu-1.berlin").serial
    renew(mesh, "gpu-1.berlin")
    eventually(lambda: mesh.find("gpu-1.berlin").serial != serial)
    mesh.wait_enforced("gpu-1.berlin", "llama-1.berlin")
    server.start(port)
    token.write_text(server.token(pod="late-1"))
    started(made)
    assert mesh.find("late-1.berlin").attested_by == "kubernetes"


def test_a_machine_that_slept_shows_its_certificate_within_the_grace_and_beyond(mesh) -> None:
    """Within it renews and keeps its epoch; beyond it enrols again. Without evidence it does neither."""
    made = started(machine(mesh, "slept-1.berlin"))
    made.agent.kill()
    made.kill_envoy()
    config = agent_config.load(made.directory / "agent.toml", {})
    root = files.read(made.state / roots.ROOT)
    held = identity.load(made.state, root, int(time.time()))
    without = dataclasses.replace(config, attest=type(config.attest)())
    wait_due(mesh, "slept-1.berlin")
    for ago_s, epoch, why in ((600, 1, "none is configured"), (100_000, 2, "expired certificate")):
        ended = clients.ended(mesh, clients.Holder(held.key, held.chain), "slept-1", ago_s, "berlin", "DE")
        old = identity.make(held.key, ended.chain, root, int(time.time()))
        with pytest.raises(enrol.EnrolError, match=why):
            asyncio.run(woken(without, root, old))
        became = asyncio.run(woken(config, root, old))
        assert (became.spiffe_id, became.epoch) == (held.spiffe_id, epoch)
        wait_due(mesh, "slept-1.berlin")


async def woken(config: agent_config.Config, root: bytes, old: identity.Identity) -> identity.Identity:
    """What an agent becomes that wakes with this certificate."""
    found: list[identity.Identity] = []

    async def become(made: identity.Identity) -> None:
        found.append(made)

    planes = ControlPlanes(config.control_planes, lambda: old, lambda: ())
    await Renewing(config, lambda: pinned(root), planes, lambda: old, become)._once()
    return found[0]


def test_operators_see_by_what_evidence_nodes_enrol(mesh, server) -> None:
    found = json.loads(shown(mesh, "attestor", "list", "-o", "json"))
    assert [(one["kind"], one["tier"], one["reattest_s"]) for one in found] == [
        ("join_token", 1, 0),
        ("x509pop", 3, 1),
        ("kubernetes", 2, 1),
    ]
    assert found[2]["facts"]["issuer"] == server.issuer
    assert "match=dns={node}.{site}.dc.example" in " ".join(shown(mesh, "attestor", "list").split())
    node_ = json.loads(shown(mesh, "node", "show", "gpu-1.berlin", "-o", "json"))
    assert (node_["attested_by"], node_["tier"], node_["attributes"]["tier"]) == ("x509pop", 3, 4)


def shown(mesh: Mesh, *words: str) -> str:
    done = writ(*words, config=mesh.context_file)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_refused_evidence_is_counted_by_kind(mesh) -> None:
    before = refusals(mesh)
    assert by_token(mesh, "no token") is grpc.StatusCode.PERMISSION_DENIED
    assert refusals(mesh) == {**before, "kubernetes": before["kubernetes"] + 1}


def refusals(mesh: Mesh) -> dict[str, float]:
    port = clients.ports(mesh)["metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    counts = dict(line.split() for line in lines if line.startswith("writ_controlplane_evidence_refused"))
    kinds = ("join_token", "x509pop", "kubernetes")
    return {
        kind: float(counts[f'writ_controlplane_evidence_refused_total{{kind="{kind}"}}']) for kind in kinds
    }


def test_no_token_of_anybody_is_in_a_log(mesh, server) -> None:
    log = (mesh.directory / "controlplane.log").read_text()
    assert server.client_token.read_text() not in log
    assert "eyJ" not in log  # no token of anybody
