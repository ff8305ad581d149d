"""SPIFFE Workload Endpoint and API: the real agent's socket, called by whoever the test says."""

import json
import os
import signal

import grpc
import psutil
import pytest
import workloads
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwts import NO, claims, header, token
from workloads import CODE, HEADER, ID, TD_ID, Workload, eventually, node_of, register, remove, status

from agent.errors import ConfigError
from agent.workload import endpoint, exporter
from certs import der
from certs.renewal import renew_at
from controlplane.api.gen import admin_pb2, workload_pb2
from controlplane.cli.errors import CliError

WEB = f"{ID}/web"


def with_header(mesh, *pairs: tuple[str, str]) -> Workload:
    return Workload(node_of(mesh).workload_socket, header=pairs)


def test_w_01_no_tcp(mesh) -> None:
    agent = psutil.Process(node_of(mesh).agent.child.pid)
    assert [one for one in agent.net_connections("tcp") if one.status == psutil.CONN_LISTEN] == []
    assert node_of(mesh).workload_socket.is_socket()


def test_w_02_the_security_header_or_invalid_argument(mesh, caller) -> None:
    key = "workload.spiffe.io"
    for pairs in (
        (),
        ((key, "True"),),
        ((key, "1"),),
        ((key, ""),),
        ((key, "true"), (key, "true")),
        (("x-" + key, "true"),),
    ):
        with with_header(mesh, *pairs) as bad:
            calls = (
                bad.svids,
                bad.bundles,
                bad.jwt_bundles,
                lambda bad=bad: bad.tokens("api"),
                lambda bad=bad: bad.validate("x.y.z"),
            )
            assert {status(call) for call in calls} == {CODE.INVALID_ARGUMENT}, pairs
    assert caller.svids()


def test_w_03_no_tls_and_nothing_asked_of_the_workload(caller) -> None:
    assert [svid.spiffe_id for svid in caller.svids()] == [WEB]  # a plain channel, an empty request


def test_w_04_endpoints_are_unix_or_tcp_and_nothing_more() -> None:
    good = {
        "unix:///run/writ/workload.sock": "unix:/run/writ/workload.sock",
        "unix:/run/writ/workload.sock": "unix:/run/writ/workload.sock",
        "tcp://127.0.0.1:8000": "ipv4:127.0.0.1:8000",
        "tcp://[::1]:8000": "ipv6:[::1]:8000",
    }
    assert {uri: endpoint.target(uri) for uri in good} == good
    for wrong in (
        "", "/run/x.sock", "unix:", "unix://", "unix:///", "unix://run/x.sock", "unix:run/x.sock", "unix:///x?y", "unix:///x#y",
        "unix://u@/x", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tcp://localhost:80",
        "tcp://127.0.0.1:80/x", "tcp://127.0.0.1:80?x", "tcp://u:p@127.0.0.1:80", "http://127.0.0.1:80", "UNIX",
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            endpoint.target(wrong)


def test_w_05_the_api_has_the_methods_of_the_standard_and_no_others() -> None:
    service = workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"]
    assert service.full_name == "SpiffeWorkloadAPI"
    profiles = {"FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"}
    assert {method.name for method in service.methods} == profiles


def test_w_06_both_profiles_are_served(caller) -> None:
    assert caller.svids()
    assert caller.bundles()
    assert caller.tokens("api")
    assert caller.jwt_bundles()


def test_w_07_wit_calls_are_unimplemented(caller) -> None:
    for method in ("FetchWITSVID", "FetchWITBundles"):
        call = caller.channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")
        assert status(lambda call=call: next(call(b"", metadata=HEADER))) == CODE.UNIMPLEMENTED


def test_w_08_each_message_is_the_whole_state(mesh, caller) -> None:
    stream = caller.stream()
    first = next(stream)
    register(mesh, "whole")
    second = next(stream)
    remove(mesh, "whole")
    third = next(stream)
    assert [svid.spiffe_id for svid in second.svids] == [WEB, f"{ID}/whole"]
    assert second.svids[0] == first.svids[0]
    assert third == first


def test_w_09_the_first_message_comes_without_asking_anybody(mesh, caller) -> None:
    mesh.control_plane.child.send_signal(signal.SIGSTOP)
    try:
        assert caller.svids()
        assert caller.bundles()
        assert caller.jwt_bundles()
    finally:
        mesh.control_plane.child.send_signal(signal.SIGCONT)


def test_w_10_clients_drop_what_is_not_whole() -> None:
    whole = {"spiffe_id": WEB, "x509_svid": b"c", "x509_svid_key": b"k", "bundle": b"b"}
    for missing in whole:
        partly = workload_pb2.X509SVID(**{name: value for name, value in whole.items() if name != missing})
        response = workload_pb2.X509SVIDResponse(svids=[partly, workload_pb2.X509SVID(**whole)])
        assert exporter.choose(response, "") == response.svids[1]
        del response.svids[1]
        with pytest.raises(exporter.ExportError):
            exporter.choose(response, "")


def test_w_11_a_mandatory_field_that_is_empty_is_an_invalid_argument(caller) -> None:
    assert status(caller.tokens) == CODE.INVALID_ARGUMENT
    assert status(caller.tokens, "") == CODE.INVALID_ARGUMENT
    assert status(caller.validate, "") == CODE.INVALID_ARGUMENT
    assert status(caller.validate, "a.b.c", "") == CODE.INVALID_ARGUMENT


def test_w_12_no_identity_is_permission_denied(mesh) -> None:
    with workloads.one_node() as other, Workload(node_of(other).workload_socket) as stranger:
        calls = (
            stranger.svids,
            stranger.bundles,
            stranger.jwt_bundles,
            lambda: stranger.tokens("api"),
            lambda: stranger.validate("a.b.c"),
        )
        eventually(lambda: status(stranger.svids) == CODE.PERMISSION_DENIED)
        assert {status(call) for call in calls} == {CODE.PERMISSION_DENIED}
        register(other, "theirs", workloads.NOBODY)
        assert {status(call) for call in calls} == {CODE.PERMISSION_DENIED}


def test_w_12_what_is_not_known_yet_is_unavailable() -> None:
    with workloads.one_node(heartbeat_s=10.0, lease_s=30) as other:
        register(other, "web")
        node = node_of(other)
        with Workload(node.workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
            other.control_plane.kill()
            node.agent.kill()
            for name in ("trust.json", "heartbeat.json"):
                (node.state / "documents" / name).unlink()
            node.agent.start()
            node.agent.ports()
        with Workload(node.workload_socket) as caller:
            eventually(lambda: status(caller.bundles) == CODE.UNAVAILABLE)


def test_w_13_a_revoked_nodes_streams_end_and_nothing_new_begins() -> None:
    with workloads.one_node() as other, Workload(node_of(other).workload_socket) as caller:
        register(other, "web")
        eventually(lambda: caller.names() == ["web"])
        svids = caller.stream()
        bundles = caller.stub.FetchJWTBundles(workload_pb2.JWTBundlesRequest(), metadata=HEADER, timeout=30)
        next(svids)
        next(bundles)
        token_ = caller.tokens("api")[0].svid
        other.revoke(f"{workloads.NODE}.{workloads.SITE}")
        assert {status(next, svids), status(next, bundles)} == {CODE.PERMISSION_DENIED}
        again = (caller.svids, lambda: caller.tokens("api"), lambda: caller.validate(token_))
        assert {status(call) for call in again} == {CODE.PERMISSION_DENIED}
        node_of(other).agent.kill()
        node_of(other).agent.start()
        node_of(other).agent.ports()
        eventually(lambda: status(caller.bundles) == CODE.PERMISSION_DENIED)
    # What a client does then is in test_files: it removes what it had.


def test_w_13_a_removed_registration_ends_the_streams_that_lived_by_it(mesh, caller) -> None:
    register(mesh, "brief", f"unix:gid:{os.getgid()}", workloads.ME)
    eventually(lambda: "brief" in caller.names())
    remove(mesh, "brief")
    eventually(lambda: "brief" not in caller.names())
    assert status(caller.tokens, "api", spiffe_id=f"{ID}/brief") == CODE.PERMISSION_DENIED


def test_w_14_hints_are_unique(mesh, caller) -> None:
    assert [svid.hint for svid in caller.svids()] == ["the web"]
    assert [svid.hint for svid in caller.tokens("api")] == ["the web"]
    with pytest.raises(CliError, match="one hint"):
        register(mesh, "twin", hint="the web")


def test_w_15_the_first_stays_the_first(mesh, caller, another) -> None:
    register(mesh, "a-first-by-name")
    eventually(lambda: caller.names() == ["web", another, "a-first-by-name"])
    remove(mesh, "a-first-by-name")
    eventually(lambda: caller.names() == ["web", another])
    assert [svid.spiffe_id for svid in caller.tokens("api")] == [WEB, f"{ID}/{another}"]


def test_w_16_at_least_one_svid_and_the_own_bundle(caller) -> None:
    svid = caller.svids()[0]
    assert svid.spiffe_id == WEB
    assert len(der.split(svid.x509_svid)) == 2
    assert len(der.split(svid.bundle)) == 1


def test_w_17_bundles_are_listed_by_the_id_of_the_trust_domain(caller) -> None:
    assert caller.bundles() == {TD_ID: caller.svids()[0].bundle}
    assert set(caller.jwt_bundles()) == {TD_ID}


def test_w_18_jwt_bundles_are_plain_jwk_sets(caller) -> None:
    document = json.loads(caller.jwt_bundles()[TD_ID])
    assert set(document) == {"keys"}
    assert {key["use"] for key in document["keys"]} == {"jwt-svid"}
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "use"} for key in document["keys"])


def test_w_19_one_token_for_each_identity_or_for_the_one_that_is_named(caller, another) -> None:
    second = f"{ID}/{another}"
    assert [svid.spiffe_id for svid in caller.tokens("api")] == [WEB, second]
    assert [svid.spiffe_id for svid in caller.tokens("api", spiffe_id=second)] == [second]
    for other in (f"{ID}/nobody", ID, TD_ID, "web", f"{WEB}/"):
        assert status(caller.tokens, "api", spiffe_id=other) == CODE.PERMISSION_DENIED, other


def test_w_20_validation_gives_back_the_claims(mesh, caller) -> None:
    kid, key = workloads.jwt_key(mesh)
    made = caller.tokens("api", spiffe_id=WEB)[0].svid
    found = caller.validate(made)
    assert (found.spiffe_id, found.claims["sub"], list(found.claims["aud"])) == (WEB, WEB, ["api"])
    assert found.claims["exp"] > found.claims["iat"]
    assert status(caller.validate, made, "other") == CODE.INVALID_ARGUMENT
    assert status(caller.validate, token(header(kid), claims(WEB, exp=NO), key)) == CODE.INVALID_ARGUMENT


def test_w_20_tokens_of_the_revoked_are_refused_everywhere(mesh, caller) -> None:
    """Another node's workload, whose node is revoked: the signature holds, the floor does not."""
    kid, key = workloads.jwt_key(mesh)
    mesh.call("CreateToken", admin_pb2.CreateTokenRequest(node="gone", site=workloads.SITE))
    made = token(header(kid), claims(f"{TD_ID}/fr/{workloads.SITE}/gone/web"), key)
    assert status(caller.validate, made) == CODE.OK
    mesh.revoke(f"gone.{workloads.SITE}")
    eventually(lambda: status(caller.validate, made) == CODE.INVALID_ARGUMENT)


def test_w_21_keys_and_certificates_are_der(caller) -> None:
    svid = caller.svids()[0]
    key = serialization.load_der_private_key(svid.x509_svid_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert plain == svid.x509_svid_key


def test_w_22_no_update_without_a_change(mesh, caller) -> None:
    stream = caller.stream()
    first = next(stream)
    seen = mesh.find(f"{workloads.NODE}.{workloads.SITE}").last_seen
    register(mesh, "others", workloads.NOBODY)  # a change, for somebody else
    eventually(lambda: mesh.find(f"{workloads.NODE}.{workloads.SITE}").last_seen > seen + 1)
    register(mesh, "mine")
    second = next(stream)  # neither the heartbeats nor the other's registration came before it
    assert [svid.spiffe_id for svid in second.svids] == [
        *(svid.spiffe_id for svid in first.svids),
        f"{ID}/mine",
    ]
    for name in ("others", "mine"):
        remove(mesh, name)


def test_w_22_renewals_are_spread() -> None:
    assert [renew_at(0, 1000, jitter) for jitter in (-1, 0, 1)] == [450, 500, 550]


def test_w_23_clients_come_back_and_leave_alone_what_is_hopeless(mesh) -> None:
    with Workload(node_of(mesh).workload_socket) as caller:
        assert caller.names() == ["web"]
        node_of(mesh).agent.kill()
        node_of(mesh).agent.start()
        node_of(mesh).agent.ports()
        eventually(lambda: caller.names() == ["web"])
    assert {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED} == exporter.HOPELESS
