"""A plain Envoy, with a bootstrap that knows nothing of Writ but the socket, takes certificate and trust from SDS."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import time

import grpc
import pytest
import workloads
from cryptography import x509
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from federations import federated
from foreign import PARTNER, Foreign, serving
from workloads import CODE, ID, TD_ID, Workload, eventually, node_of, register, remove, status

from agent.envoy import process
from agent.envoy.ads import SECRET
from controlplane.api.gen import admin_pb2

pytestmark = pytest.mark.timeout(120)
WEB = f"{ID}/web"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@pytest.fixture(scope="module")
def mesh():
    with workloads.one_node() as made:
        register(made, "web")
        with Workload(node_of(made).workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
        yield made


def from_sds(name: str) -> dict:
    service = {"envoy_grpc": {"cluster_name": "writ"}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def tls(kind: str, certificate: str, trust: str, peer: str, **more) -> dict:
    exact = {"san_type": "URI", "matcher": {"exact": peer}}
    common = {
        "tls_certificate_sds_secret_configs": [from_sds(certificate)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [exact]},
            "validation_context_sds_secret_config": from_sds(trust),
        },
    }
    config = {"@type": f"{TLS}{kind}", "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def listener(name: str, action: dict, transport: dict | None) -> dict:
    route = {
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]
    }
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}
    manager = {"@type": HCM, "stat_prefix": name, "route_config": route, "http_filters": [router]}
    chain: dict = {"filters": [{"name": "http", "typed_config": manager}]}
    if transport:
        chain["transport_socket"] = transport
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [chain]}


def bootstrap(path, mesh, server_port: int, trust: str, peer: str, expects: str = WEB) -> dict:
    """Plain HTTP in, mTLS to the Envoy itself (or to `server_port`), answered there."""
    http2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }}  # fmt: skip

    def cluster(name: str, address: dict, **more) -> dict:
        endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
        return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": [endpoint]}, **more}

    server = listener(
        "server",
        {"direct_response": {"status": 200, "body": {"inline_string": "hello"}}},
        tls("DownstreamTlsContext", "default", trust, expects, require_client_certificate=True),
    )
    client = listener("client", {"route": {"cluster": "server"}}, None)
    to_server = {"socket_address": {"address": "127.0.0.1", "port_value": server_port or 1}}
    return {
        "node": {"id": "x", "cluster": "x"},
        "admin": {"address": {"pipe": {"path": str(path / "admin.sock")}}},
        "static_resources": {
            "listeners": [server, client],
            "clusters": [
                cluster(
                    "writ",
                    {"pipe": {"path": str(node_of(mesh).workload_socket)}},
                    typed_extension_protocol_options=http2,
                ),
                cluster("server", to_server, transport_socket=tls("UpstreamTlsContext", WEB, trust, peer)),
            ],
        },
    }


@contextlib.contextmanager
def envoy(path, config: dict):
    path.mkdir()
    (path / "envoy.json").write_text(json.dumps(config))
    command = [process.find_binary(None), "-c", path / "envoy.json", "--use-dynamic-base-id"]
    with (path / "log").open("wb") as log:
        child = subprocess.Popen([*command, "--concurrency", "1", "-l", "warning"], stdout=log, stderr=log)
    try:
        eventually((path / "admin.sock").exists)
        yield path
    finally:
        child.kill()
        child.wait(20)


def admin(path, what: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(path / "admin.sock"))
        connection = http.client.HTTPConnection("admin")
        connection.sock = raw
        connection.request("GET", what)
        return connection.getresponse().read()


def port(path, name: str) -> int:
    """Where a listener listens; not before it has its certificates."""

    def found() -> int:
        with contextlib.suppress(OSError, ValueError):
            for line in admin(path, "/listeners").decode().splitlines():
                if line.startswith(f"{name}::"):
                    return int(line.rpartition(":")[2])
        return 0

    return eventually(found)


def get(at: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", at, timeout=20)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def shown(at: int) -> int:
    """The serial of the certificate that a TLS server shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", at), timeout=20) as raw, context.wrap_socket(raw) as tls_:
        return x509.load_der_x509_certificate(tls_.getpeercert(binary_form=True)).serial_number


@pytest.mark.parametrize("trust", ["ROOTCA", TD_ID, "ALL"])
def test_two_plain_envoys_speak_mtls_and_follow_a_rotation(mesh, tmp_path, trust: str) -> None:
    name = trust.rpartition("/")[2]
    with envoy(tmp_path / f"s-{name}", bootstrap(tmp_path / f"s-{name}", mesh, 0, trust, WEB)) as server:
        at = port(server, "server")
        config = bootstrap(tmp_path / f"c-{name}", mesh, at, trust, WEB)
        with envoy(tmp_path / f"c-{name}", config) as client:
            asked = port(client, "client")
            eventually(lambda: get(asked) == (200, b"hello"))
            before = eventually(lambda: shown(at))
            narrow = admin_pb2.Attributes(groups=["clinical"], class_ceiling=len(name) % 4)
            register(mesh, "web", attributes=narrow)
            eventually(lambda: shown(at) != before)
            assert get(asked) == (200, b"hello")


def test_an_envoy_that_expects_another_peer_refuses_this_one(mesh, tmp_path) -> None:
    with envoy(tmp_path / "s", bootstrap(tmp_path / "s", mesh, 0, "ROOTCA", WEB)) as server:
        at = port(server, "server")
        eventually(lambda: shown(at))
        with envoy(tmp_path / "c", bootstrap(tmp_path / "c", mesh, at, "ROOTCA", f"{ID}/db")) as client:
            asked = port(client, "client")
            eventually(
                lambda: (
                    b"fail_verify_san" in admin(client, "/stats?filter=cluster.server.ssl")
                    and get(asked)[0] == 503
                )
            )
            stats = admin(client, "/stats?filter=cluster.server.ssl.fail_verify_san").decode()
            assert int(stats.split(": ")[1]) > 0


@pytest.fixture
def partner(mesh):
    """Another trust domain, federated, and known to the agent."""
    made = Foreign()
    with serving(made) as endpoint, federated(mesh, made, endpoint):
        with Workload(node_of(mesh).workload_socket) as caller:
            eventually(lambda: f"spiffe://{PARTNER}" in caller.bundles())
        yield made


def shows(at: int, credential: tuple[bytes, bytes], path) -> str:
    """What a TLS server says to a client with this certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    path.write_bytes(b"".join(credential))
    context.load_cert_chain(path)
    try:
        with (
            socket.create_connection(("127.0.0.1", at), timeout=20) as raw,
            context.wrap_socket(raw) as tls_,
        ):
            tls_.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            return "answered" if tls_.recv(4096).startswith(b"HTTP/1.1 200") else "closed"
    except (ssl.SSLError, ConnectionError):
        return "refused"


def test_an_envoy_takes_the_roots_of_the_peers_own_trust_domain(mesh, partner, tmp_path) -> None:
    """By `ALL`: theirs for their names, and for our names only ours."""
    peer = f"spiffe://{PARTNER}/their/client"
    answers = {}
    for claimed in (peer, f"{ID}/client"):
        name = claimed.rpartition("/")[0].rpartition("/")[2]
        with envoy(
            tmp_path / name, bootstrap(tmp_path / name, mesh, 0, "ALL", claimed, expects=claimed)
        ) as made:
            at = port(made, "server")
            eventually(lambda at=at: shown(at))
            answers[claimed] = shows(at, partner.endpoint(claimed), tmp_path / "client.pem")
    assert answers == {peer: "answered", f"{ID}/client": "refused"}


def test_the_roots_of_another_trust_domain_are_for_those_that_federate(mesh, partner) -> None:
    path, theirs = node_of(mesh).workload_socket, f"spiffe://{PARTNER}"
    assert ask(path, theirs, TD_ID, "ALL") == [SECRET] * 3
    register(mesh, "web")
    eventually(lambda: ask(path, theirs) == CODE.PERMISSION_DENIED)
    register(mesh, "web", federates_with=[PARTNER])


def ask(socket_path, *names: str, type_url: str = SECRET) -> grpc.StatusCode | list[str]:
    with grpc.insecure_channel(f"unix:{socket_path}") as channel:
        call = channel.unary_unary(
            "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets",
            DiscoveryRequest.SerializeToString,
            DiscoveryResponse.FromString,
        )
        try:
            answer = call(DiscoveryRequest(resource_names=names, type_url=type_url), timeout=20)
        except grpc.RpcError as exc:
            return exc.code()
        return [resource.type_url for resource in answer.resources]


def test_secrets_are_for_those_they_belong_to(mesh) -> None:
    path = node_of(mesh).workload_socket
    register(mesh, "db", workloads.NOBODY)
    assert ask(path, "default", WEB, "ROOTCA", "ALL", TD_ID) == [SECRET] * 5
    assert ask(path) == [SECRET] * 3
    for other in (f"{ID}/db", ID, "root", "", "spiffe://other.example", "../default"):
        assert ask(path, "default", other) == CODE.PERMISSION_DENIED, other
    assert ask(path, "default", type_url="type.googleapis.com/x") == CODE.INVALID_ARGUMENT
    assert ask(path, *map(str, range(65))) == CODE.INVALID_ARGUMENT
    remove(mesh, "db")


def test_a_stream_of_secrets_ends_when_the_node_is_revoked() -> None:
    with workloads.one_node() as other:
        register(other, "web")
        path = node_of(other).workload_socket
        with Workload(path) as caller:
            eventually(lambda: caller.names() == ["web"])
        with grpc.insecure_channel(f"unix:{path}") as channel:
            stream = channel.stream_stream(
                "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
                DiscoveryRequest.SerializeToString,
                DiscoveryResponse.FromString,
            )

            def asking():
                yield DiscoveryRequest(resource_names=["default"])
                time.sleep(60)

            answers = stream(asking(), timeout=30)
            assert len(next(answers).resources) == 1
            other.revoke(f"{workloads.NODE}.{workloads.SITE}")
            assert status(next, answers) == CODE.PERMISSION_DENIED
