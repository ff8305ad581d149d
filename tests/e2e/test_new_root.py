"""The root is replaced below a mesh at work: nobody asks twice, and who slept through it heals, or is told what to do."""

import base64
import contextlib
import hashlib
import json
import subprocess

import mesh as small
import pytest
import workloads
from commands import writ
from cryptography import x509
from mesh import ATTRIBUTES, CALLEE, CALLER, TREATMENT, ask, callee, caller
from test_rotation import Traffic, active, eventually, issuer, renew, shown

from agent import identity
from certs import der, verify
from certs.profile import CaKind
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.errors import Exit

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
KINDS = tuple(kind.value for kind in CaKind)


def rotate(mesh, *words: str, code: int = 0) -> str:
    done = writ("root", "rotate", *words, config=mesh.context_file)
    assert done.returncode == code, (words, done.stderr)
    return done.stdout + done.stderr


def roots(mesh) -> list[dict]:
    return json.loads(rotate(mesh, "list", "-o", "json"))


def prepare(mesh, directory) -> None:
    change = directory / "change.json"
    rotate(mesh, "prepare", "--root", str(mesh.replicas[0].state), "--out", str(change))
    rotate(mesh, "prepare", "--change", str(change))


def activate(mesh) -> None:
    eventually(lambda: writ("root", "rotate", "activate", config=mesh.context_file).returncode == 0)


def replaced(mesh, before: dict[str, str]) -> None:
    """All issuing CAs, by the schedule; those of control planes would wait a day for operators who are away."""
    eventually(lambda: active(mesh, "node") != before["node"])
    eventually(lambda: active(mesh, "workload") != before["workload"])
    known = [one for one in shown(mesh, "list") if one["kind"] == "control-plane"]
    (made,) = [one["key_id"] for one in known if one["state"] == "prepared"]
    eventually(lambda: writ("authority", "activate", made, config=mesh.context_file).returncode == 0)
    done = writ("operator", "renew", config=mesh.context_file)
    assert done.returncode == 0, done.stderr


def retire_cas(mesh, before: dict[str, str]) -> None:
    for key in before.values():
        assert writ("authority", "retire", key, "--force", "--yes", config=mesh.context_file).returncode == 0


def pinned(node) -> str:
    return hashlib.sha256((node.state / "root.der").read_bytes()).hexdigest()


def above(node, root: bytes) -> bool:
    """Is its certificate's CA below this root?"""
    chain = json.loads((node.state / "identity.json").read_text())["chain"]
    ca = x509.load_der_x509_certificate(base64.b64decode(chain[1]))
    return ca.issuer == verify.load(root).subject


@contextlib.contextmanager
def away(mesh, node):
    """Its agent is dead meanwhile. Where its Envoy listens stays known."""
    node.agent.kill()
    eventually(lambda: not mesh.find(node.name).connected)
    yield
    ports, node.agent.ports_file = node.agent.ports_file, node.state / "none.json"
    node.agent.start()
    node.agent.ports_file = ports
    eventually(lambda: mesh.find(node.name).connected)


@contextlib.contextmanager
def a_mesh(directory, **options):
    made = small.start(directory, **options)
    try:
        yield made
    finally:
        made.stop()


def test_the_root_is_replaced_under_traffic_without_one_failed_request(tmp_path) -> None:
    with a_mesh(tmp_path, svid_s=150) as mesh:
        before = {kind: active(mesh, kind) for kind in KINDS}
        (old,) = roots(mesh)
        first = issuer(caller(mesh))
        stream = calls.start_stream(caller(mesh), CALLEE, TREATMENT, pause_s=0.02)
        with Traffic(mesh) as traffic:
            traffic.more()
            prepare(mesh, tmp_path)
            assert [one["state"] for one in roots(mesh)] == ["active", "prepared"]
            with away(mesh, caller(mesh)):  # Envoy goes on; the agent comes back in the middle
                traffic.more()
            activate(mesh)
            new = roots(mesh)[1]
            assert [one["state"] for one in roots(mesh)] == ["old", "active"]
            traffic.more()
            replaced(mesh, before)
            renew(mesh, CALLER)
            eventually(lambda: issuer(caller(mesh)) != first)
            traffic.more()  # one end below the new root, the other below the old one
            renew(mesh, CALLEE)
            eventually(lambda: issuer(callee(mesh)) == issuer(caller(mesh)))
            with away(mesh, callee(mesh)):
                traffic.more()
            assert "below the old root" in rotate(mesh, "retire", "--yes", code=Exit.CONFLICT)
            retire_cas(mesh, before)
            mesh.connect()
            eventually(
                lambda: writ("root", "rotate", "retire", "--yes", config=mesh.context_file).returncode == 0
            )
            mesh.wait_enforced()
            traffic.more(20)
            eventually(lambda: {pinned(node) for node in mesh.nodes.values()} == {new["sha256"]})
            for node in mesh.nodes.values():
                with away(mesh, node):
                    traffic.more()
            mesh.wait_enforced()
            traffic.more()
        assert traffic.failed == []
        assert traffic.asked > 80
        assert not stream.ended.is_set()
        stream.close()
        assert [one["state"] for one in roots(mesh)] == ["retired", "active"]
        assert (
            old["sha256"]
            != new["sha256"]
            == json.loads(writ("status", "-o", "json", config=mesh.context_file).stdout)["root_sha256"]
        )


def test_who_slept_through_the_activation_heals_alone(tmp_path) -> None:
    """It pins the old root, and every control plane that it meets is below the new one."""
    with a_mesh(tmp_path, lease_max_s=3) as mesh:
        node, before = caller(mesh), {kind: active(mesh, kind) for kind in KINDS}
        node.agent.kill()
        prepare(mesh, tmp_path)
        activate(mesh)
        replaced(mesh, before)
        mesh.connect()
        node.agent.start()
        node.agent.ports()
        eventually(lambda: mesh.find(CALLER).connected, 60)
        eventually(lambda: ask(mesh) == "allowed", 60)
        chain = json.loads((node.state / "root-changes.json").read_text())
        assert len(chain) == 1
        renew(mesh, CALLER)
        eventually(lambda: not above(node, (node.state / "root.der").read_bytes()))


def test_who_slept_through_all_of_it_is_told_and_an_old_token_still_leads_in(tmp_path) -> None:
    with a_mesh(tmp_path, lease_max_s=3, lease_s=30, svid_s=75) as mesh:
        node, before = caller(mesh), {kind: active(mesh, kind) for kind in KINDS}
        node.agent.kill()
        mesh.prepare("app-2.paris", ATTRIBUTES, serve=False)  # a token that names the old root, not used yet
        prepare(mesh, tmp_path)
        activate(mesh)
        replaced(mesh, before)
        eventually(lambda: not above(callee(mesh), (callee(mesh).state / "root.der").read_bytes()), 60)
        retire_cas(mesh, before)
        mesh.connect()
        eventually(
            lambda: writ("root", "rotate", "retire", "--yes", config=mesh.context_file).returncode == 0
        )
        newcomer = mesh.nodes["app-2.paris"]
        newcomer.agent.start()
        newcomer.agent.ports()
        eventually(lambda: mesh.find("app-2.paris").connected, 60)
        eventually(lambda: pinned(newcomer) == roots(mesh)[1]["sha256"])
        node.agent.start()
        eventually(lambda: "writ token create" in node.agent.log.read_text(), 90)
        assert ask(mesh) != "allowed"
        mesh.token(CALLER)  # what it is told to do
        node.agent.kill()
        node.agent.start()
        node.agent.ports()
        eventually(lambda: ask(mesh) == "allowed", 60)
        assert mesh.call("GetStatus", admin_pb2.GetStatusRequest()).root_sha256 == pinned(node)


def test_software_that_knows_either_root_verifies_a_workload(tmp_path) -> None:
    """Our bundle has both. Who was given the old one as a file, and looks no further, is led to it by the cross certificate."""
    with workloads.one_node() as mesh:
        workloads.register(mesh, "web")
        before = active(mesh, "workload")
        with workloads.Workload(workloads.node_of(mesh).workload_socket) as asked:
            old = workloads.eventually(asked.svids)[0]
            prepare(mesh, tmp_path)
            workloads.eventually(
                lambda: len(der.split(asked.svids()[0].bundle)) == len(der.split(old.bundle)) + 1
            )
            activate(mesh)
            eventually(lambda: active(mesh, "workload") != before)
            assert (
                writ("authority", "retire", before, "--force", "--yes", config=mesh.context_file).returncode
                == 0
            )
            workloads.eventually(lambda: asked.svids()[0].x509_svid != old.x509_svid)
            now = asked.svids()[0]
        first, second = der.split(now.bundle)
        assert [first] == der.split(old.bundle)
        for root in (first, second):
            assert verifies(tmp_path, root, der.split(now.x509_svid)), "by `openssl verify`"
        assert not verifies(tmp_path, second, der.split(old.x509_svid))


def verifies(directory, root: bytes, chain: list[bytes]) -> bool:
    for name, ders in (("root", [root]), ("leaf", chain[:1]), ("chain", chain[1:])):
        (directory / name).write_bytes(identity.pem(*ders))
    command = [
        "openssl",
        "verify",
        "-CAfile",
        directory / "root",
        "-untrusted",
        directory / "chain",
        directory / "leaf",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
