"""SPIFFE Federation, as the server: our bundle endpoint, asked by clients that know nothing of Writ."""

import http.client
import json
import socket
import ssl
from contextlib import closing

import pytest
import workloads
from cryptography import x509

from certs import bundle, federation, verify
from certs.errors import ChainError, FederationError
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.mesh import TRUST_DOMAIN

OURS = f"{workloads.TD_ID}/control-plane/federation/endpoint"


def port(mesh) -> int:
    return int(mesh.control_plane.ports()["federation"])


def published(mesh) -> bytes:
    return mesh.call("GetBundle", admin_pb2.GetBundleRequest()).document


def trusting(mesh) -> ssl.SSLContext:
    """What another trust domain makes of our bundle; no certificate to show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=root(mesh))
    return context


def root(mesh) -> bytes:
    (found,) = bundle.load(published(mesh), TRUST_DOMAIN).roots
    return found


def ask(mesh, method: str = "GET", path: str = "/", **headers: str) -> tuple[int, str, bytes]:
    made = http.client.HTTPSConnection("127.0.0.1", port(mesh), timeout=20, context=trusting(mesh))
    with closing(made):
        made.request(method, path, headers=headers)
        response = made.getresponse()
        return response.status, response.headers.get("content-type", ""), response.read()


def handshake(mesh, context: ssl.SSLContext) -> tuple[str, str]:
    """TLS version and cipher suite."""
    with (
        socket.create_connection(("127.0.0.1", port(mesh)), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname="x") as tls,
    ):
        return tls.version(), tls.cipher()[0]


def test_f_01_the_endpoint_serves_the_newest_bundle(mesh) -> None:
    assert ask(mesh) == (200, "application/json", published(mesh))
    made = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest())
    status, _, body = ask(mesh)
    assert (status, body) == (200, published(mesh))
    assert made.key_id in {key.get("kid") for key in json.loads(body.decode("utf-8"))["keys"]}
    mesh.call("RetireAuthority", admin_pb2.RetireAuthorityRequest(key_id=made.key_id))
    assert made.key_id not in ask(mesh)[2].decode()


def test_f_03_nobody_is_asked_who_they_are(mesh) -> None:
    assert ask(mesh)[0] == 200  # no client certificate, no header
    assert ask(mesh, authorization="Bearer x.y.z")[0] == 200
    assert [ask(mesh, "GET", path)[0] for path in ("/metrics", "/../", "/x", "//")] == [404] * 4
    assert [ask(mesh, method)[0] for method in ("POST", "PUT", "DELETE")] == [405] * 3
    assert port(mesh) not in {mesh.control_plane.ports()[name] for name in ("api", "enrolment")}


def test_f_05_tls_1_2_with_forward_secrecy_or_1_3(mesh) -> None:
    assert handshake(mesh, trusting(mesh))[0] == "TLSv1.3"
    older = trusting(mesh)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    version, suite = handshake(mesh, older)
    assert (version, suite.startswith("ECDHE-ECDSA-"), "GCM" in suite or "CHACHA20" in suite) == (
        "TLSv1.2", True, True,
    )  # fmt: skip
    for weak in (
        "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
        "AES128-GCM-SHA256:@SECLEVEL=0",
        "AES256-SHA:@SECLEVEL=0",
    ):
        context = trusting(mesh)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(weak)
        with pytest.raises(ssl.SSLError):
            handshake(mesh, context)
    ancient = trusting(mesh)
    ancient.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        ancient.minimum_version, ancient.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        handshake(mesh, ancient)


def shown(mesh) -> bytes:
    """The certificate that our endpoint shows; its path to our root has been validated."""
    with (
        socket.create_connection(("127.0.0.1", port(mesh)), timeout=20) as raw,
        trusting(mesh).wrap_socket(raw) as tls,
    ):
        return tls.getpeercert(binary_form=True)


def test_f_08_our_endpoint_is_what_we_say_it_is(mesh) -> None:
    leaf = shown(mesh)
    federation.check_endpoint(leaf, OURS)
    found = mesh.call("ListFederations", admin_pb2.ListFederationsRequest())
    assert (found.profile, found.endpoint_id) == ("https_spiffe", OURS)
    for other in (
        f"{OURS}/x",
        f"{workloads.TD_ID}/control-plane/replica-1",
        workloads.ID,
        workloads.TD_ID,
        "",
    ):
        with pytest.raises(FederationError):
            federation.check_endpoint(leaf, other)


def test_the_endpoints_certificate_is_neither_replica_nor_operator(mesh) -> None:
    """It is below the CA that replicas and operators have: nobody may take it for either."""
    leaf = shown(mesh)
    cert = x509.load_der_x509_certificate(leaf)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"federation.{TRUST_DOMAIN}"]
    now = int(cert.not_valid_before_utc.timestamp()) + 60
    made = json.loads((mesh.directory / "controlplane" / "authorities.json").read_text())
    anchors = [bytes.fromhex(made["control_plane_ca"][0])]
    for check in (verify.verify_control_plane, verify.verify_operator):
        with pytest.raises(ChainError, match="is not a"):
            check(leaf, anchors, TRUST_DOMAIN, now)
