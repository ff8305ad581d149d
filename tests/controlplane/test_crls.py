"""The published revocation lists: what foreign verifiers of workloads are told, as soon as it is decided."""

import subprocess
import urllib.error
import urllib.request

import clients
import grpc
import pytest
import workloads
from commands import writ
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from workloads import Workload, eventually, node_of, register

from certs import der, keys
from certs.template import key_identifier
from controlplane.api.gen import revocation_pb2, revocation_pb2_grpc

pytestmark = pytest.mark.timeout(120)
NAME = f"{workloads.NODE}.{workloads.SITE}"


@pytest.fixture(scope="module")
def mesh():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WRIT_METRICS__LISTEN", "127.0.0.1:0")
        with workloads.one_node() as made:
            register(made, "web")
            yield made


@pytest.fixture
def held(mesh) -> list[x509.Certificate]:
    """Leaf, workload CA and root, as the workload has them on disk."""
    with Workload(node_of(mesh).workload_socket) as caller:
        svid = eventually(caller.svids)[0]
    return [x509.load_der_x509_certificate(one) for one in (*der.split(svid.x509_svid), svid.bundle)]


def get(mesh, path: str) -> bytes:
    port = mesh.control_plane.ports()["metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read()


def published(mesh, ca: x509.Certificate) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(get(mesh, f"/crl/{key_identifier(ca.public_key()).hex()}.crl"))


def reasons(mesh, ca: x509.Certificate) -> dict[int, str]:
    return {
        one.serial_number: one.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
        for one in published(mesh, ca)
    }


def openssl(tmp_path, held: list[x509.Certificate], crl: bytes) -> str:
    for name, certificate in zip(("leaf", "ca", "root"), held, strict=True):
        (tmp_path / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "crl").write_bytes(crl)
    command = ["openssl", "verify", "-crl_check", "-CRLfile", tmp_path / "crl", "-CAfile", tmp_path / "root"]
    done = subprocess.run(
        [*command, "-untrusted", tmp_path / "ca", tmp_path / "leaf"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_certificate_of_a_quarantined_nodes_workload_is_on_hold_and_superseded_once_released(
    mesh, held, tmp_path
) -> None:
    leaf, ca, _ = held
    assert "leaf: OK" in openssl(tmp_path, held, get(mesh, "/crl.pem"))
    node = revocation_pb2.NodeName(node=workloads.NODE, site=workloads.SITE)
    with Workload(node_of(mesh).workload_socket) as caller:
        stream = caller.stream()
        next(stream)
        asked = revocation_pb2.QuarantineRequest(node=node.node, site=node.site)
        mesh.client.revocation.Quarantine(asked, timeout=10)
        assert reasons(mesh, ca) == {
            leaf.serial_number: "certificate_hold"
        }  # at once: it is read from the store
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        mesh.client.revocation.Release(node, timeout=10)
        assert reasons(mesh, ca) == {leaf.serial_number: "superseded"}
        eventually(caller.svids)


def test_the_certificate_of_a_revoked_nodes_workload_is_refused_by_openssl(mesh, held, tmp_path) -> None:
    leaf, ca, _ = held
    assert writ("bundle", "crl", "--out", str(tmp_path / "crl"), config=mesh.context_file).returncode == 0
    assert "leaf: OK" in openssl(tmp_path, held, (tmp_path / "crl").read_bytes())
    before = published(mesh, ca)
    mesh.revoke(NAME)
    after = published(mesh, ca)
    assert after.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None
    numbers = [
        one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for one in (before, after)
    ]
    assert numbers[0] < numbers[1]
    assert writ("bundle", "crl", "--out", str(tmp_path / "crl"), config=mesh.context_file).returncode == 0
    assert "certificate revoked" in openssl(tmp_path, held, (tmp_path / "crl").read_bytes())
    assert "certificate revoked" in openssl(tmp_path, held, get(mesh, "/crl.pem"))


def test_what_was_revoked_is_listed_by_a_control_plane_that_was_restarted(mesh) -> None:
    before = get(mesh, "/crl.pem")
    mesh.control_plane.kill()
    mesh.start_control_plane()
    after = get(mesh, "/crl.pem")
    serials = [{one.serial_number for crl in x509_crls(text) for one in crl} for text in (before, after)]
    assert serials[0] == serials[1] != set()


def x509_crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----\n"
    return [x509.load_pem_x509_crl(part + end) for part in pem.split(end) if part]


def test_another_node_and_a_list_that_is_not_there(mesh, tmp_path) -> None:
    for path in ("/crl/", "/crl/00.crl", "/crl/../ready", "/crls"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(mesh, path)
        assert caught.value.code == 404
        caught.value.close()
    stub = clients.enrolment(mesh, clients.root_and_ca(mesh, clients.token(mesh, "probe"), tmp_path / "t")[1])
    holder = clients.enrolled(mesh, stub, "other")
    ca = x509.load_der_x509_certificate(holder.chain[1])
    serial = x509.load_der_x509_certificate(holder.chain[0]).serial_number
    assert serial not in reasons(mesh, ca)
    selector = {"key": keys.spki_sha256(holder.key.public_key()).hex()}
    mesh.client.revocation.Revoke(revocation_pb2.RevokeRequest(selector=selector), timeout=10)
    assert reasons(mesh, ca)[serial] == "key_compromise"
    with holder.channel(mesh) as channel, pytest.raises(grpc.RpcError) as denied:
        revocation_pb2_grpc.RevocationStub(channel).GetCrls(revocation_pb2.GetCrlsRequest(), timeout=10)
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
