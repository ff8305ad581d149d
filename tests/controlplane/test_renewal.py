"""Renewal, grace and sessions as they should go, and how they end. Attacks on them: `tests/e2e/attacks/renewing.py`."""

import threading
import time

import grpc
import pytest
from clients import ended, enrolled, enrolment, operator, renew_expired, root_and_ca, token
from cryptography import x509

from certs import keys
from controlplane.api.gen import (
    enrolment_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
)
from controlplane.cli.demo.mesh import Mesh

pytestmark = pytest.mark.timeout(90)
CODE = grpc.StatusCode
HELLO = sync_pb2.SyncRequest(hello=sync_pb2.Hello(ingress_address="127.0.0.1:7443"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


@pytest.fixture(scope="module")
def stub(mesh, tmp_path_factory) -> enrolment_pb2_grpc.EnrolmentStub:
    _, ca = root_and_ca(mesh, token(mesh, "probe"), tmp_path_factory.mktemp("t") / "token")
    return enrolment(mesh, ca)


def test_a_lost_renewal_is_given_again(mesh, stub) -> None:
    holder, new = enrolled(mesh, stub, "lost"), keys.generate_p256()
    first, second = holder.renew(mesh, new, "r" * 20), holder.renew(mesh, new, "r" * 20)
    assert list(first.chain) == list(second.chain)


def test_an_ended_certificate_opens_no_call_but_renews_within_the_grace(mesh, stub) -> None:
    old = ended(mesh, enrolled(mesh, stub, "slept"), "slept", 600)
    assert old.renew(mesh, keys.generate_p256(), "u" * 20) in {CODE.UNAVAILABLE, CODE.PERMISSION_DENIED}
    leaf = x509.load_der_x509_certificate(renew_expired(stub, old).chain[0])
    assert leaf.not_valid_after_utc.timestamp() > time.time()


def test_an_operator_has_no_sync(mesh, stub) -> None:
    with operator(mesh) as open_, pytest.raises(grpc.RpcError) as caught:
        list(sync_pb2_grpc.SyncStub(open_).Connect(iter([HELLO]), timeout=10))
    assert caught.value.code() is CODE.PERMISSION_DENIED


def test_the_stream_of_a_revoked_node_ends(mesh, stub) -> None:
    holder = enrolled(mesh, stub, "streaming")
    stop = threading.Event()

    def requests():
        yield HELLO
        stop.wait(30)

    with holder.channel(mesh) as open_:
        stream = sync_pb2_grpc.SyncStub(open_).Connect(requests(), timeout=30)
        assert next(stream).trust_document
        mesh.revoke("streaming.paris")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        stop.set()
    assert caught.value.code() is CODE.PERMISSION_DENIED
