"""What a node may ask for its workloads, by a client that says what no agent would say; and what their certificates open."""

import base64
import json
import re
import signal
import socket
import sqlite3
import ssl
import time

import pytest
import workloads
from clients import channel_of
from cryptography import x509
from workloads import CODE, NODE, SITE, eventually, node_of, register, remove, status

from agent import identity
from certs import der, keys, verify
from certs.attributes import Attributes
from certs.csr import make_csr
from certs.errors import ChainError
from controlplane.api.gen import admin_pb2, identity_pb2, identity_pb2_grpc, sync_pb2_grpc
from controlplane.cli.errors import CliError
from controlplane.services import rows

pytestmark = pytest.mark.timeout(120)
NAME = f"{NODE}.{SITE}"


@pytest.fixture(scope="module")
def mesh():
    with workloads.one_node() as made:
        register(made, "web")
        yield made


@pytest.fixture
def held(mesh):
    """The node's own key and chain, as a thief would take them from its disk."""
    document = json.loads((node_of(mesh).state / "identity.json").read_text())
    return document["key"].encode(), tuple(base64.b64decode(one) for one in document["chain"])


@pytest.fixture
def stub(mesh, held):
    with channel_of(mesh, held[0], identity.pem(*held[1])) as open_:
        yield identity_pb2_grpc.IdentityStub(open_)


def issue(stub, workload: str, csr: bytes | None = None):
    csr = make_csr(keys.generate_p256()) if csr is None else csr
    request = identity_pb2.IssueWorkloadRequest(workload=workload, csr=csr)
    return stub.IssueWorkload(request, timeout=20)


def mint(stub, workload: str, *audience: str):
    return stub.MintJwt(identity_pb2.MintJwtRequest(workload=workload, audience=audience), timeout=20)


def issued(stub, workload: str = "web") -> verify.NodeIdentity:
    leaf, ca = issue(stub, workload).chain
    return verify.verify_workload(leaf, [ca], "demo.example", int(time.time()))


def test_a_registered_workload_is_what_its_node_is(mesh, stub) -> None:
    found = issued(stub)
    assert str(found.spiffe_id) == f"{workloads.ID}/web"
    assert (found.epoch, found.attributes.groups, found.attributes.tier) == (1, {"clinical"}, 1)
    assert found.not_after - found.not_before <= 3660


def test_a_node_gets_nothing_for_workloads_that_are_not_its(mesh, stub) -> None:
    for name in ("", "nobody", "web/x", "../web", f"{workloads.ID}/web", "WEB", "web ", "w" * 5000):
        assert status(issue, stub, name) == CODE.PERMISSION_DENIED, name
        assert status(mint, stub, name, "api") == CODE.PERMISSION_DENIED, name


def test_only_the_key_of_a_signing_request_is_taken(mesh, stub) -> None:
    key = keys.generate_p256()
    built = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "db")])
    )
    names = [x509.UniformResourceIdentifier(f"{workloads.ID}/db"), x509.DNSName("evil.example")]
    built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    csr = built.sign(key, keys.hashes.SHA256()).public_bytes(keys.serialization.Encoding.DER)
    leaf, ca = issue(stub, "web", csr).chain
    assert (
        str(verify.verify_workload(leaf, [ca], "demo.example", int(time.time())).spiffe_id)
        == f"{workloads.ID}/web"
    )
    for bad in (b"", b"\x30\x00", csr[:-1], csr[:-1] + bytes([csr[-1] ^ 1]), b"x" * 5000):
        assert status(issue, stub, "web", bad) == CODE.INVALID_ARGUMENT


def test_a_token_is_for_few_printable_audiences(mesh, stub) -> None:
    good = mint(stub, "web", "api", "https://other.example/x")
    assert good.expires_at - time.time() <= 300
    for wrong in (
        (),
        ("",),
        ("a b",),
        ("a\n",),
        ("x" * 513,),
        ("ä",),
        ("a", "a"),
        tuple(map(str, range(17))),
    ):
        assert status(mint, stub, "web", *wrong) == CODE.INVALID_ARGUMENT, wrong


def test_what_is_signed_is_in_the_store(mesh, stub) -> None:
    leaf = issued(stub)
    token = mint(stub, "web", "stored").token
    with sqlite3.connect(f"file:{mesh.directory}/controlplane/writ.db?mode=ro", uri=True) as store:
        found = dict(store.execute("SELECT key, value FROM item"))
    assert rows.certificate_key(f"{leaf.serial:x}", leaf.not_after) in found
    signed = token.rpartition(".")[0]
    assert signed in {json.loads(value)["text"] for key, value in found.items() if key.startswith("jwt/")}


def test_attributes_are_never_more_than_the_nodes(mesh, stub) -> None:
    def wanted(**changes):
        has = {"groups": ["clinical"], "purposes": ["treatment"], "class_ceiling": 4, **changes}
        return admin_pb2.Attributes(**has)

    for more in ({"groups": ["clinical", "admins"]}, {"purposes": ["marketing"]}, {"groups": ["other"]}):
        with pytest.raises(CliError, match="more than node"):
            register(mesh, "narrow", workloads.NOBODY, attributes=wanted(**more))
    register(mesh, "narrow", workloads.NOBODY, attributes=wanted(class_ceiling=1))
    assert issued(stub, "narrow").attributes == Attributes(
        tier=1, groups=frozenset({"clinical"}), purposes=frozenset({"treatment"}), class_ceiling=1
    )
    remove(mesh, "narrow")
    assert status(issue, stub, "narrow") == CODE.PERMISSION_DENIED


def test_a_workloads_certificate_opens_neither_api_nor_enrolment(mesh, stub) -> None:
    key = keys.generate_p256()
    chain = tuple(issue(stub, "web", make_csr(key)).chain)
    with channel_of(mesh, keys.dump_private(key, None), identity.pem(*chain)) as open_:
        assert status(issue, identity_pb2_grpc.IdentityStub(open_), "web") == CODE.UNAVAILABLE  # no handshake
        assert status(next, sync_pb2_grpc.SyncStub(open_).Connect(iter(()), timeout=10)) == CODE.UNAVAILABLE
    with pytest.raises(ChainError):
        verify.verify_node(chain[0], [chain[1]], "demo.example", int(time.time()))


def test_a_workloads_certificate_opens_no_sidecar(mesh, stub, tmp_path) -> None:
    """The CA that signs workloads is none that Envoy knows: the node's own certificate gets an answer, the workload's none."""
    port = node_of(mesh).known_ports["ingress"]
    document = json.loads((node_of(mesh).state / "identity.json").read_text())
    node_chain = tuple(base64.b64decode(one) for one in document["chain"])
    key = keys.generate_p256()
    offered = {
        "node": (document["key"].encode(), identity.pem(*node_chain)),
        "workload": (keys.dump_private(key, None), identity.pem(*issue(stub, "web", make_csr(key)).chain)),
    }
    answers = {}
    for name, (private, chain) in offered.items():
        (tmp_path / f"{name}.key").write_bytes(private)
        (tmp_path / f"{name}.pem").write_bytes(chain)
        answers[name] = _https(port, tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    assert answers == {"node": "answered", "workload": "no handshake"}


def _https(port: int, chain, key) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(chain, key)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
            context.wrap_socket(raw) as tls,
        ):
            tls.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            return "answered" if tls.recv(4096).startswith(b"HTTP/1.1 ") else "closed"
    except (ssl.SSLError, ConnectionError):
        return "no handshake"


def test_a_key_is_not_activated_before_every_agent_knows_it(mesh) -> None:
    node_of(mesh).agent.child.send_signal(signal.SIGSTOP)
    try:
        made = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest())
        assert made.state == "prepared"
        with pytest.raises(CliError, match=re.escape(workloads.ID)):
            mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=made.key_id))
    finally:
        node_of(mesh).agent.child.send_signal(signal.SIGCONT)
    activate = admin_pb2.ActivateAuthorityRequest(key_id=made.key_id)
    assert eventually(lambda: mesh.call("ActivateAuthority", activate)).state == "active"
    for wrong in ("nobody", "", made.key_id):
        with pytest.raises(CliError):
            mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=wrong))


def test_a_node_that_was_narrowed_renews_before_its_workloads_do(mesh, held) -> None:
    """The thief of the certificate of before gets nothing for workloads either."""
    attributes = admin_pb2.Attributes(groups=["clinical"], purposes=["treatment"], tier=2, class_ceiling=2)
    mesh.call("SetNode", admin_pb2.SetNodeRequest(node=NODE, site=SITE, attributes=attributes))
    with channel_of(mesh, held[0], identity.pem(*held[1])) as open_:
        old = identity_pb2_grpc.IdentityStub(open_)
        assert status(issue, old, "web") in {CODE.FAILED_PRECONDITION, CODE.PERMISSION_DENIED}
        assert status(mint, old, "web", "api") in {CODE.FAILED_PRECONDITION, CODE.PERMISSION_DENIED}
    with workloads.Workload(node_of(mesh).workload_socket) as caller:

        def renewed() -> bool:
            leaf, ca = der.split(caller.svids()[0].x509_svid)
            found = verify.verify_workload(leaf, [ca], "demo.example", int(time.time()))
            return (found.epoch, found.attributes.class_ceiling) == (2, 2)

        eventually(renewed)


def test_a_revoked_node_gets_nothing_more_for_its_workloads(mesh, stub) -> None:
    mesh.revoke(NAME)
    assert status(issue, stub, "web") == CODE.PERMISSION_DENIED
    assert status(mint, stub, "web", "api") == CODE.PERMISSION_DENIED
