"""Equal replicas on a real etcd, real processes: any of them serves, each has a CA of its own, one that is cut off is mute."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import operators
import pytest
from barenode import CODE, PATIENCE_S, Node, issuer, payload_of, renewed, told_workloads, trust, until
from commands import writ
from cryptography import x509
from faultproxy import FaultProxy

from certs import bundle, jwt_svid, keys
from certs.bundle import TrustBundle
from certs.csr import make_csr
from controlplane.api.gen import (
    admin_pb2,
    identity_pb2,
)
from controlplane.cli.client import Client
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh, Replica

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=0.5, store="etcd", replicas=2) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        made.proxy = None
        yield made


def asked_for_a_workload(name: str = "web") -> dict:
    """What a node may ask for a workload, by method."""
    csr = make_csr(keys.generate_p256())
    return {
        "IssueWorkload": identity_pb2.IssueWorkloadRequest(workload=name, csr=csr),
        "MintJwt": identity_pb2.MintJwtRequest(workload=name, audience=["api"]),
    }


def test_each_replica_issues_with_a_ca_of_its_own_and_all_accept_it(mesh, tmp_path) -> None:
    node = Node(mesh, "own", tmp_path)
    first, second = mesh.replicas
    key, _, chain = renewed(node, second)
    assert issuer(chain) != issuer(node.chain)
    node.key, node.chain = key, chain
    assert isinstance(node.renew(first, keys.generate_p256(), "n" * 20), tuple)


def test_an_answer_that_one_replica_lost_is_given_by_another_for_the_same_key_only(mesh, tmp_path) -> None:
    node = Node(mesh, "lost", tmp_path)
    first, second = mesh.replicas
    key = keys.generate_p256()
    lost = node.renew(first, key, "i" * 20)
    again = node.renew(second, key, "i" * 20)
    assert issuer(again) != issuer(lost)
    assert node.renew(second, key, "i" * 20) == again
    spki = [x509.load_der_x509_certificate(one[0]).public_key() for one in (lost, again)]
    assert spki[0] == spki[1] == key.public_key()
    assert mesh.find("lost.paris").serial == f"{x509.load_der_x509_certificate(again[0]).serial_number:x}"


def test_what_each_replica_signs_for_workloads_is_believed_by_all(mesh, tmp_path) -> None:
    node = Node(mesh, "works", tmp_path)
    node.workload("web")
    signed = {}
    for replica in mesh.replicas:
        node.key, _, node.chain = renewed(node, replica)  # its keys may be used
        answers = {m: node.identity(replica, m, r) for m, r in asked_for_a_workload().items()}
        assert all(not isinstance(one, CODE) for one in answers.values()), answers
        signed[replica.name] = (answers["IssueWorkload"].chain[1], answers["MintJwt"].token)
    stream = node.listen(mesh.replicas[0])
    until(lambda: stream.trust)
    stream.close()
    document = trust(stream.trust[-1])
    assert set(document.workload_cas) == {ca for ca, _ in signed.values()}
    believed = {bundle.key_id(bundle.public_key(spki)): bundle.public_key(spki) for spki in document.jwt_keys}
    ours = {TRUST_DOMAIN: TrustBundle(trust_domain=TRUST_DOMAIN, jwt_keys=believed)}
    for _, token in signed.values():
        assert jwt_svid.verify(token, ours, "api", int(time.time())).spiffe_id.path[-1] == "web"
    listed = mesh.call("ListAuthorities", admin_pb2.ListAuthoritiesRequest()).authorities
    assert {(one.replica, one.state) for one in listed} == {
        (replica.name, "active") for replica in mesh.replicas
    }


def test_a_registration_at_one_replica_counts_at_another(mesh, tmp_path) -> None:
    node, (first, second) = Node(mesh, "told", tmp_path), mesh.replicas
    stream = node.listen(second)
    until(lambda: stream.workloads)
    node.workload("web")
    until(lambda: [one.name for one in told_workloads(stream.workloads[-1])] == ["web"])
    other = node.listen(first)
    until(lambda: other.workloads)
    assert payload_of(other.workloads[-1]) == payload_of(stream.workloads[-1])
    mesh.call("RemoveWorkload", admin_pb2.RemoveWorkloadRequest(node="told", site="paris", name="web"))
    until(lambda: not told_workloads(stream.workloads[-1]))
    for method, request in asked_for_a_workload().items():
        assert node.identity(second, method, request) is CODE.PERMISSION_DENIED
    other.close()
    stream.close()


def test_a_copied_key_locks_the_node_whatever_replica_each_asks(mesh, tmp_path) -> None:
    node = Node(mesh, "copied", tmp_path)
    first, second = mesh.replicas
    assert isinstance(node.renew(first, keys.generate_p256(), "c" * 20), tuple)
    assert node.renew(second, keys.generate_p256(), "b" * 20) is CODE.FAILED_PRECONDITION
    assert mesh.find("copied.paris").state == "locked"


def test_a_revocation_at_one_replica_ends_the_session_at_another(mesh, tmp_path) -> None:
    node, other = Node(mesh, "gone", tmp_path), Node(mesh, "stays", tmp_path)
    second = mesh.replicas[1]
    streams = [one.listen(second) for one in (node, other)]
    for one in streams:
        assert one.next_beat(10)
    before = len(streams[1].trust)
    mesh.revoke("gone.paris")
    assert streams[0].ended.wait(10)
    assert streams[0].code is CODE.PERMISSION_DENIED
    until(lambda: len(streams[1].trust) > before)
    assert node.renew(second, keys.generate_p256(), "r" * 20) is CODE.PERMISSION_DENIED
    streams[1].close()


def test_replicas_sign_one_content_for_one_generation(mesh, tmp_path) -> None:
    node = Node(mesh, "both", tmp_path)
    found = {}
    for replica in mesh.replicas:
        stream = node.listen(replica)
        until(lambda stream=stream: stream.trust)
        found[replica.name] = stream.trust[-1]
        stream.close()
    assert len({payload_of(one) for one in found.values()}) == 1
    assert len(set(found.values())) == 2  # by the document key of each


def test_status_at_one_replica_knows_the_agents_of_the_other(mesh, tmp_path) -> None:
    node = Node(mesh, "seen", tmp_path)
    stream = node.listen(mesh.replicas[1])
    until(lambda: mesh.find("seen.paris").connected)
    stream.close()
    until(lambda: not mesh.find("seen.paris").connected)


def test_a_name_that_is_taken_and_a_directory_that_is_used_do_not_join(mesh, tmp_path) -> None:
    taken = Replica(tmp_path, 3)
    taken.configure_like(mesh.replicas[0])
    taken.config.write_text(taken.config.read_text().replace("replica-3", "replica-2"))
    for replica, said in ((taken, "there is a replica `replica-2`"), (mesh.replicas[0], "holds a mesh")):
        done = _run("join", "--config", str(replica.config), "--root", str(mesh.replicas[0].state))
        assert (done.returncode, said in done.stderr) == (5, True), done.stderr


@pytest.mark.slow
@pytest.mark.faults
def test_a_request_travels_to_the_root_and_its_grant_back(mesh, tmp_path) -> None:
    third = Replica(tmp_path, 3)
    third.configure_like(mesh.replicas[0])
    asked, given = tmp_path / "request", tmp_path / "grant"
    root = str(mesh.replicas[0].state)
    assert _run("join", "--config", str(third.config), "--request", str(asked)).returncode == 0
    forged = asked.read_text().replace('"replica-3"', '"replica-4"')
    (tmp_path / "forged").write_text(forged)
    admit = ["admit", "--root", root, "--grant", str(given), "--request"]
    done = _run(*admit, str(tmp_path / "forged"))
    assert (done.returncode, "is not signed by its document key" in done.stderr) == (2, True)
    assert _run(*admit, str(asked)).returncode == 0
    assert _run("join", "--config", str(third.config), "--grant", str(given)).returncode == 0
    third.process.start()
    third.process.ports()
    third.process.kill()
    settings = str(mesh.replicas[0].config)
    done = _run("remove", "--config", settings, "--root", root, "--replica", "replica-3")
    assert done.returncode == 0, done.stderr
    third.process.start()
    assert third.process.child.wait(20) == 1
    assert "has not delegated the document key" in third.process.log.read_text()


def _run(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "controlplane", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.faults
def test_a_replica_that_is_cut_from_etcd_goes_mute_and_issues_nothing(mesh, tmp_path) -> None:
    node = Node(mesh, "mute", tmp_path)
    node.workload("web")
    cut = mesh.replicas[1]
    with FaultProxy(mesh.etcd.endpoints[0]) as proxy:
        text = cut.config.read_text()
        cut.config.write_text(text.replace(mesh.etcd.endpoints[0], proxy.address))
        cut.process.kill()
        cut.process.start()
        cut.process.ports()
        stream = node.listen(cut)
        assert stream.next_beat(10)
        for method, request in asked_for_a_workload().items():
            assert not isinstance(node.identity(cut, method, request), CODE), method
        proxy.cut()
        while stream.next_beat(3):
            pass  # what was read before the cut
        healthy = node.listen(mesh.replicas[0])
        assert healthy.next_beat(10)
        assert not stream.next_beat(3)
        assert node.renew(cut, keys.generate_p256(), "m" * 20) in {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED}
        for method, request in asked_for_a_workload().items():
            assert node.identity(cut, method, request) in {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED}, method
        mesh.revoke("mute.paris")
        assert healthy.ended.wait(10)
        proxy.heal()
        assert stream.ended.wait(PATIENCE_S)
        assert stream.code is CODE.PERMISSION_DENIED
        cut.process.kill()
        cut.config.write_text(text)
    cut.process.start()
    cut.process.ports()


def test_a_replica_without_the_root_gets_its_next_ca_from_one_that_holds_it(mesh, tmp_path) -> None:
    node, (first, second) = Node(mesh, "rotated", tmp_path), mesh.replicas

    def authorities() -> dict:
        return {
            one.key_id: one
            for one in mesh.call("ListAuthorities", admin_pb2.ListAuthoritiesRequest()).authorities
        }

    with Client(replace(mesh.context(), address=second.api), timeout_s=30) as client:
        wanted = admin_pb2.PrepareAuthorityRequest(kind="node")
        made = client.call(client.stub.PrepareAuthority, wanted)
    assert (made.state, made.replica) == ("requested", second.name)
    until(lambda: authorities()[made.key_id].state == "prepared")
    node.key, _, node.chain = renewed(node, second)
    before = issuer(node.chain)
    mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=made.key_id))

    def by_the_new_one() -> bool:
        node.key, _, node.chain = renewed(node, second)
        return issuer(node.chain) != before

    until(by_the_new_one)
    assert isinstance(node.renew(first, keys.generate_p256(), "n" * 20), tuple)


def test_operators_are_the_same_at_every_replica_and_each_keeps_a_log_of_its_own(mesh, tmp_path) -> None:
    """Added at one, known at the other; removed at the other, gone at the first. Both logs verify, each with its part."""
    second = Client(dataclasses.replace(mesh.context(), address=mesh.replicas[1].api), timeout_s=20)
    with second:
        added = operators.add(mesh.client.stub, mesh, "olga", "auditor", "paris")
        olga = operators.Person(mesh, "olga", added.key, added.chain, address=mesh.replicas[1].api)
        assert olga("GetStatus", admin_pb2.GetStatusRequest()).trust_domain == TRUST_DOMAIN
        second.call(second.stub.RemoveOperator, admin_pb2.RemoveOperatorRequest(name="olga"))
    for person in (olga, added):
        assert person("GetStatus", admin_pb2.GetStatusRequest()) is CODE.PERMISSION_DENIED
    logs = [replica.state / "evidence" for replica in mesh.replicas]
    until(lambda: all((log / "checkpoint.cosigned").exists() for log in logs))
    for replica in mesh.replicas:  # what they hold when they have ended is signed
        replica.process.kill(signal.SIGTERM)
    mesh.start_control_plane()
    (tmp_path / "keys").write_text(writ("audit", "keys", config=mesh.context_file).stdout)
    assert writ("audit", "verify", "--keys", str(tmp_path / "keys"), *map(str, logs)).returncode == 0
    shown = json.loads(writ("audit", "admin", *map(str, logs), "-o", "json").stdout)
    about = {(c["call"], c["node"].rpartition("/")[2]) for c in shown if c["target"] == "olga"}
    assert about == {("AddOperator", "replica-1"), ("RemoveOperator", "replica-2")}
