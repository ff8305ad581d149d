"""What one replica revokes, every replica refuses and lists: two real control planes on a real etcd."""

import dataclasses
import secrets
from concurrent.futures import ThreadPoolExecutor

import clients
import grpc
import pytest
from barenode import until
from clients import Holder
from cryptography import x509

from agent import identity
from certs import keys
from certs.csr import make_csr
from certs.verify import load
from controlplane.api.gen import admin_pb2, identity_pb2, identity_pb2_grpc, revocation_pb2
from controlplane.cli.client import Client
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh, Replica
from controlplane.services.identity.nodes import TOGETHER

pytestmark = pytest.mark.timeout(120)
CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=0.5, store="etcd", replicas=2) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        first = certified(made)
        until(lambda: renewed(made.replicas[1], made, first, keys.generate_p256()) is not CODE.UNAVAILABLE)
        yield made


@pytest.fixture
def holder(mesh) -> Holder:
    return certified(mesh)


def certified(mesh: Mesh) -> Holder:
    """A node, certified by the first replica."""
    _, ca = clients.root_and_ca(mesh, clients.token(mesh, "probe"), mesh.directory / "token")
    return clients.enrolled(mesh, clients.enrolment(mesh, ca), f"n-{secrets.token_hex(4)}")


def renewed(replica: Replica, mesh: Mesh, holder: Holder, key) -> Holder | CODE:
    credentials = grpc.ssl_channel_credentials(
        mesh.context().ca.read_bytes(), keys.dump_private(holder.key, None), identity.pem(*holder.chain)
    )
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    request = identity_pb2.RenewRequest(csr=make_csr(key), idempotency_key=secrets.token_hex(10))
    with grpc.secure_channel(replica.api, credentials, options) as open_:
        try:
            return Holder(key, tuple(identity_pb2_grpc.IdentityStub(open_).Renew(request, timeout=15).chain))
        except grpc.RpcError as exc:
            return exc.code()


def listed(replica: Replica, mesh: Mesh) -> set[int]:
    """Serials in the lists of one replica's CAs, as it publishes them now."""
    with Client(dataclasses.replace(mesh.context(), address=replica.api), timeout_s=15) as client:
        crls = client.call(client.revocation.GetCrls, revocation_pb2.GetCrlsRequest()).crls
    return {one.serial_number for der in crls for one in x509.load_der_x509_crl(der)}


def revoke(mesh: Mesh, **selector) -> revocation_pb2.RevokeResponse:
    request = revocation_pb2.RevokeRequest(selector=revocation_pb2.NodeSelector(**selector))
    return mesh.client.revocation.Revoke(request, timeout=20)


def test_each_replica_lists_what_its_own_ca_signed_whoever_revokes(mesh, holder) -> None:
    first, second = mesh.replicas
    newer = renewed(second, mesh, holder, keys.generate_p256())
    assert isinstance(newer, Holder)
    serials = [load(one.chain[0]).serial_number for one in (holder, newer)]
    assert not set(serials) & (listed(first, mesh) | listed(second, mesh))
    assert len(revoke(mesh, serial=f"{serials[1]:x}").nodes) == 1
    assert [serials[0] in listed(first, mesh), serials[1] in listed(first, mesh)] == [True, False]
    assert [serials[0] in listed(second, mesh), serials[1] in listed(second, mesh)] == [False, True]
    assert renewed(second, mesh, newer, keys.generate_p256()) is CODE.PERMISSION_DENIED


def test_a_key_that_one_replica_refuses_no_other_certifies(mesh, holder) -> None:
    bad = keys.generate_p256()
    assert not revoke(mesh, key=keys.spki_sha256(bad.public_key()).hex()).nodes
    assert renewed(mesh.replicas[1], mesh, holder, bad) is CODE.PERMISSION_DENIED
    assert isinstance(renewed(mesh.replicas[1], mesh, holder, keys.generate_p256()), Holder)


def test_a_site_larger_than_one_commit_is_ended_in_etcd(mesh) -> None:
    mesh.site("large", "FR")
    for number in range(TOGETHER + 3):
        mesh.call("CreateToken", admin_pb2.CreateTokenRequest(node=f"n-{number}", site="large"))
    done = revoke(mesh, site="large")
    assert ([node.error for node in done.nodes], {node.state for node in done.nodes}) == (
        [""] * (TOGETHER + 3),
        {"revoked"},
    )


def test_a_key_that_one_replica_certified_for_a_node_no_other_certifies_for_another(mesh, holder) -> None:
    second = mesh.replicas[1]
    other = certified(mesh)
    assert renewed(second, mesh, other, holder.key) is CODE.PERMISSION_DENIED
    again = renewed(second, mesh, holder, holder.key)
    assert isinstance(again, Holder), "a node may keep its own key"
    fresh = keys.generate_p256()
    with ThreadPoolExecutor(2) as pool:  # at the same time, at both
        asked = pool.map(
            lambda one: renewed(*one, fresh), zip(mesh.replicas, (mesh, mesh), (again, other), strict=True)
        )
        assert sorted(isinstance(one, Holder) for one in asked) == [False, True]
