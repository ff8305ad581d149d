"""The API under attack: a real control plane in a process of its own, real gRPC over TLS."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time

import grpc
import pytest
from clients import admin, ask, enrolment, operator, ports, root_and_ca, token
from pki import Pki

from agent import contact, enrol, identity
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import (
    admin_pb2,
    admin_pb2_grpc,
    enrolment_pb2,
    identity_pb2,
    identity_pb2_grpc,
)
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh

pytestmark = pytest.mark.timeout(90)
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


@pytest.fixture(scope="module")
def anchors(mesh, tmp_path_factory):
    return root_and_ca(mesh, token(mesh, "probe"), tmp_path_factory.mktemp("t") / "token")


def test_a_token_is_good_once(mesh, anchors) -> None:
    stub, text, key = enrolment(mesh, anchors[1]), token(mesh, "once"), keys.generate_p256()
    first = ask(stub, text, key)
    assert identity.make(key, tuple(first.chain), anchors[0], 2_000_000_000).spiffe_id.short == "once.paris"
    assert ask(stub, text) == DENIED
    assert ask(stub, text, idempotency="b" * 20) == DENIED


def test_a_lost_reply_is_given_again_and_only_to_the_same_key(mesh, anchors) -> None:
    stub, text, key = enrolment(mesh, anchors[1]), token(mesh, "again"), keys.generate_p256()
    assert ask(stub, text, key).chain == ask(stub, text, key).chain
    assert ask(stub, text, keys.generate_p256()) == DENIED


def test_what_is_no_token_of_ours_is_refused_with_one_text(mesh, anchors) -> None:
    stub = enrolment(mesh, anchors[1])
    good = token(mesh, "text")
    texts = set()
    for text in (
        "",
        "writ1.",
        "writ1.AAAA",
        good[:-4],
        good + "x",
        "x" * 5000,
        good.replace("writ1", "writ2"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Enrol(
                enrolment_pb2.EnrolRequest(
                    token=text, csr=make_csr(keys.generate_p256()), idempotency_key="c" * 20
                )
            )
        texts.add((caught.value.code(), caught.value.details()))
    assert texts == {(DENIED, "the join token was not accepted")}


@pytest.mark.parametrize("csr", [b"", b"garbage", b"\x30" * 20_000])
def test_a_request_that_proves_nothing_leaves_the_token_unused(mesh, anchors, csr) -> None:
    stub, text = enrolment(mesh, anchors[1]), token(mesh, f"csr-{len(csr)}")
    with pytest.raises(grpc.RpcError) as caught:
        stub.Enrol(enrolment_pb2.EnrolRequest(token=text, csr=csr, idempotency_key="d" * 20))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not isinstance(ask(stub, text), grpc.StatusCode)


def test_first_contact_believes_only_the_root_in_the_token(mesh, tmp_path) -> None:
    (tmp_path / "t").write_text(token(mesh, "pin"))
    read = enrol.read_token(tmp_path / "t")
    with pytest.raises(Exception, match="does not show the root"):
        asyncio.run(contact.meet(read.addresses[0], "0" * 64, 2_000_000_000))


def test_a_node_is_no_operator_and_an_operator_no_node(mesh, anchors) -> None:
    key = keys.generate_p256()
    chain = ask(enrolment(mesh, anchors[1]), token(mesh, "role"), key).chain
    node = admin(mesh, keys.dump_private(key, None), identity.pem(*chain))
    with pytest.raises(grpc.RpcError) as caught:
        node.ListNodes(admin_pb2.ListNodesRequest(), timeout=10)
    assert caught.value.code() is DENIED
    with operator(mesh) as open_:
        request = identity_pb2.RenewRequest(csr=make_csr(keys.generate_p256()), idempotency_key="e" * 20)
        with pytest.raises(grpc.RpcError) as caught:
            identity_pb2_grpc.IdentityStub(open_).Renew(request, timeout=10)
    assert caught.value.code() is DENIED


def test_strangers_do_not_get_through_the_handshake(mesh) -> None:
    foreign = Pki(now=int(time.time())).node()
    for key, chain in ((None, None), (keys.dump_private(foreign.key, None), identity.pem(foreign.der))):
        with pytest.raises(grpc.RpcError) as caught:
            admin(mesh, key, chain).ListNodes(admin_pb2.ListNodesRequest(), timeout=5)
        assert caught.value.code() is UNAVAILABLE


def test_tls_1_2_and_plaintext_are_refused(mesh) -> None:
    for port in ports(mesh).values():
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode, old.maximum_version = (
            False,
            ssl.CERT_NONE,
            ssl.TLSVersion.TLSv1_2,
        )
        with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(OSError):
            old.wrap_socket(raw)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as open_, pytest.raises(grpc.RpcError):
            admin_pb2_grpc.AdminStub(open_).ListNodes(admin_pb2.ListNodesRequest(), timeout=3)


def test_a_second_control_plane_on_one_directory_is_refused(mesh) -> None:
    command = [sys.executable, "-m", "controlplane", "--config", str(mesh.directory / "controlplane.toml")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "WRIT_SERVER__LISTEN": "127.0.0.1:0"},
    )
    assert done.returncode == 6
    assert "another control plane uses" in done.stderr


def test_a_mesh_is_not_made_twice_in_one_directory(mesh) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mesh.init()
    assert caught.value.returncode == 5


def test_agents_that_come_at_once_are_all_let_in(mesh, anchors) -> None:
    key = keys.generate_p256()
    chain = identity.pem(*ask(enrolment(mesh, anchors[1]), token(mesh, "crowd"), key).chain)

    async def connect() -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials(
            mesh.context().ca.read_bytes(), keys.dump_private(key, None), chain
        )
        options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{ports(mesh)['api']}", credentials, options=options
        ) as open_:
            try:
                await identity_pb2_grpc.IdentityStub(open_).Renew(identity_pb2.RenewRequest(), timeout=30)
            except grpc.aio.AioRpcError as exc:
                return exc.code()

    async def crowd() -> set[grpc.StatusCode]:
        return set(await asyncio.gather(*(connect() for _ in range(200))))

    assert asyncio.run(crowd()) == {grpc.StatusCode.INVALID_ARGUMENT}
