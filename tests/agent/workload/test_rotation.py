"""Certificates of workloads whose CA is replaced or tainted: others come by themselves, and no stream ends."""

import pytest
import workloads
from cryptography import x509
from workloads import Workload, eventually, node_of, one_node, register

from controlplane.api.gen import admin_pb2

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture
def mesh():
    with one_node(svid_s=150) as made:
        register(made, "web")
        yield made


def issuer(svid) -> bytes:
    return x509.load_der_x509_certificate(svid.x509_svid[: _length(svid.x509_svid)]).issuer.public_bytes()


def _length(der: bytes) -> int:
    """Of the first certificate in a chain that is one after the other."""
    size = der[1] & 0x7F
    return 2 + size + int.from_bytes(der[2 : 2 + size], "big")


def active(mesh, kind: str) -> str:
    found = mesh.call("ListAuthorities", admin_pb2.ListAuthoritiesRequest()).authorities
    (key,) = [one.key_id for one in found if (one.kind, one.state) == (kind, "active")]
    return key


@pytest.mark.parametrize("now", [False, True], ids=["spread out", "at once"])
def test_a_stream_gets_another_certificate_when_its_ca_is_tainted(mesh, now) -> None:
    with Workload(node_of(mesh).workload_socket) as caller:
        eventually(lambda: caller.names() == ["web"])
        stream = caller.stream(timeout_s=120)
        first = issuer(next(stream).svids[0])
        stolen = active(mesh, "workload")
        mesh.call("TaintAuthority", admin_pb2.TaintAuthorityRequest(key_id=stolen, now=now))
        for response in stream:  # and it does not end
            if issuer(response.svids[0]) != first:
                break
        assert active(mesh, "workload") != stolen


def test_a_token_of_a_tainted_key_dies_and_the_next_is_by_another(mesh) -> None:
    with Workload(node_of(mesh).workload_socket) as caller:
        before = eventually(lambda: caller.tokens("api"))[0].svid
        stolen = active(mesh, "jwt")
        mesh.call("TaintAuthority", admin_pb2.TaintAuthorityRequest(key_id=stolen, now=True))
        eventually(lambda: workloads.status(caller.validate, before) == workloads.CODE.INVALID_ARGUMENT)
        after = eventually(lambda: [one.svid for one in caller.tokens("api") if one.svid != before])[0]
        assert caller.validate(after).spiffe_id.endswith("/web")
