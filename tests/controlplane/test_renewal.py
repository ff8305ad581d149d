"""Renewal, grace and sessions under attack: copied keys, ended certificates, tokens for others, revoked streams."""

import dataclasses
import secrets
import threading
import time

import grpc
import pytest
from clients import admin, ask, channel_of, enrolment, operator, root_and_ca, token
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import identity
from certs import issue, keys
from certs.attributes import Attributes
from certs.csr import make_csr
from certs.profile import Profile
from certs.spiffe import node_id
from controlplane.api.gen import (
    admin_pb2,
    enrolment_pb2,
    enrolment_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
)
from controlplane.attest import token as tokens
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh
from controlplane.services import authorities
from controlplane.signer.file import FileSigner

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


@dataclasses.dataclass
class Holder:
    """A key and the chain it was given."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]

    def channel(self, mesh: Mesh) -> grpc.Channel:
        return channel_of(mesh, keys.dump_private(self.key, None), identity.pem(*self.chain))

    def renew(self, mesh: Mesh, new: ec.EllipticCurvePrivateKey, idempotency: str):
        request = identity_pb2.RenewRequest(csr=make_csr(new), idempotency_key=idempotency)
        with self.channel(mesh) as open_:
            try:
                return identity_pb2_grpc.IdentityStub(open_).Renew(request, timeout=10)
            except grpc.RpcError as exc:
                return exc.code()


def enrolled(mesh: Mesh, stub, node: str) -> Holder:
    key = keys.generate_p256()
    return Holder(key, tuple(ask(stub, token(mesh, node), key).chain))


def ended(mesh: Mesh, holder: Holder, node: str, ago_s: int) -> Holder:
    """The same node and key with a certificate of the real CA that ended `ago_s` ago."""
    directory = mesh.directory / "controlplane"
    signer = FileSigner(directory / "keys", (directory / "passphrase").read_bytes().strip())
    made = authorities.load(directory, signer)
    prepared = issue.prepare(
        Profile(lifetime_s=3600),
        node_id(TRUST_DOMAIN, "FR", "paris", node),
        Attributes(
            tier=0,
            groups=frozenset(),
            purposes=frozenset(),
            regions=frozenset(),
            class_floor=0,
            class_ceiling=0,
        ),
        1,
        public_key=holder.key.public_key(),
        issuer=made.node_ca,
        serial=secrets.randbits(127) + 1,
        now=int(time.time()) - 3600 - ago_s,
    )
    return Holder(holder.key, (issue.sign(prepared, made.signing(prepared.key_name)), holder.chain[1]))


def renew_expired(stub, holder: Holder, *, nonce: bytes = b"", key=None, idempotency: str = "n" * 20):
    """The new chain, or the status. `key` signs, if not the holder's own."""
    leaf, csr = holder.chain[0], make_csr(keys.generate_p256())
    try:
        nonce = nonce or stub.Challenge(enrolment_pb2.ChallengeRequest(leaf=leaf), timeout=10).nonce
        signature = keys.sign(key or holder.key, b"writ-renew\n" + nonce + csr)
        request = enrolment_pb2.RenewExpiredRequest(
            leaf=leaf, csr=csr, nonce=nonce, signature=signature, idempotency_key=idempotency
        )
        return stub.RenewExpired(request, timeout=10)
    except grpc.RpcError as exc:
        return exc.code()


def test_an_expired_token_is_refused(mesh, stub) -> None:
    made = mesh.call("CreateToken", admin_pb2.CreateTokenRequest(node="late", site="paris", ttl_s=1))
    while time.time() < made.expires_at:
        time.sleep(made.expires_at - time.time() + 0.01)
    assert ask(stub, made.token) == CODE.PERMISSION_DENIED
    assert mesh.find("late.paris").epoch == 0


def test_a_token_makes_no_node_but_the_one_it_was_made_for(mesh, stub) -> None:
    mine = tokens.parse(token(mesh, "mine"))
    token(mesh, "victim")
    assert ask(stub, dataclasses.replace(mine, node="victim").text()) == CODE.PERMISSION_DENIED
    assert mesh.find("victim.paris").epoch == 0


def test_a_name_in_the_request_changes_nothing(mesh, stub) -> None:
    key = keys.generate_p256()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "victim")])
    uri = x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/fr/paris/victim")
    asked = x509.CertificateSigningRequestBuilder().subject_name(name)
    asked = asked.add_extension(x509.SubjectAlternativeName([uri]), critical=False).sign(key, hashes.SHA256())
    request = enrolment_pb2.EnrolRequest(
        token=token(mesh, "honest"),
        csr=asked.public_bytes(serialization.Encoding.DER),
        idempotency_key="h" * 20,
    )
    made = identity.make(key, tuple(stub.Enrol(request, timeout=10).chain), _root(mesh), 2_000_000_000)
    assert made.spiffe_id.short == "honest.paris"


def _root(mesh: Mesh) -> bytes:
    directory = mesh.directory / "controlplane"
    signer = FileSigner(directory / "keys", (directory / "passphrase").read_bytes().strip())
    return authorities.load(directory, signer).root


def test_a_lost_renewal_is_given_again(mesh, stub) -> None:
    holder, new = enrolled(mesh, stub, "lost"), keys.generate_p256()
    first, second = holder.renew(mesh, new, "r" * 20), holder.renew(mesh, new, "r" * 20)
    assert list(first.chain) == list(second.chain)


@pytest.mark.parametrize("copied", ["s" * 20, "c" * 20], ids=["same-idempotency-key", "another"])
def test_two_keys_that_renew_one_certificate_lock_the_node(mesh, stub, copied) -> None:
    name = f"clone-{copied[0]}"
    holder = enrolled(mesh, stub, name)
    after = Holder(keys.generate_p256(), ())
    after.chain = tuple(holder.renew(mesh, after.key, "s" * 20).chain)
    assert holder.renew(mesh, keys.generate_p256(), copied) == CODE.FAILED_PRECONDITION
    assert mesh.find(f"{name}.paris").state == "locked"
    assert after.renew(mesh, keys.generate_p256(), "t" * 20) == CODE.PERMISSION_DENIED


def test_an_ended_certificate_opens_no_call_but_renews_within_the_grace(mesh, stub) -> None:
    old = ended(mesh, enrolled(mesh, stub, "slept"), "slept", 600)
    assert old.renew(mesh, keys.generate_p256(), "u" * 20) in {CODE.UNAVAILABLE, CODE.PERMISSION_DENIED}
    leaf = x509.load_der_x509_certificate(renew_expired(stub, old).chain[0])
    assert leaf.not_valid_after_utc.timestamp() > time.time()


def test_after_the_grace_or_without_the_key_or_nonce_nothing_renews(mesh, stub) -> None:
    holder = enrolled(mesh, stub, "gone")
    old, older = ended(mesh, holder, "gone", 600), ended(mesh, holder, "gone", 90_000)
    assert renew_expired(stub, older) == CODE.PERMISSION_DENIED
    assert renew_expired(stub, old, key=keys.generate_p256()) == CODE.PERMISSION_DENIED
    assert renew_expired(stub, old, nonce=b"\x00" * 32) == CODE.PERMISSION_DENIED
    foreign = stub.Challenge(enrolment_pb2.ChallengeRequest(leaf=older.chain[0])).nonce
    assert renew_expired(stub, old, nonce=foreign) == CODE.PERMISSION_DENIED


def test_a_revoked_node_does_not_renew_by_grace(mesh, stub) -> None:
    old = ended(mesh, enrolled(mesh, stub, "bad"), "bad", 600)
    mesh.revoke("bad.paris")
    assert renew_expired(stub, old) == CODE.PERMISSION_DENIED


def test_an_operator_has_no_sync_and_a_node_no_admin(mesh, stub) -> None:
    with operator(mesh) as open_, pytest.raises(grpc.RpcError) as caught:
        list(sync_pb2_grpc.SyncStub(open_).Connect(iter([HELLO]), timeout=10))
    assert caught.value.code() is CODE.PERMISSION_DENIED
    holder = enrolled(mesh, stub, "curious")
    calls = admin(mesh, keys.dump_private(holder.key, None), identity.pem(*holder.chain))
    request = admin_pb2.RevokeNodeRequest(node="slept", site="paris")
    with pytest.raises(grpc.RpcError) as caught:
        calls.RevokeNode(request, timeout=10)
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
