"""Bare clients of the control plane's API, for tests that say what no agent and no operator would say."""

import asyncio
import dataclasses
import json
import secrets
import time

import grpc
from cryptography.hazmat.primitives.asymmetric import ec

from agent import contact, enrol, identity
from certs import issue, keys
from certs.attributes import Attributes
from certs.csr import make_csr
from certs.profile import Profile
from certs.spiffe import node_id
from controlplane.api.gen import (
    admin_pb2,
    admin_pb2_grpc,
    enrolment_pb2,
    enrolment_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
)
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh
from controlplane.services.authority import authorities
from controlplane.services.authority.authorities import Authorities
from controlplane.signer.file import FileSigner


def token(mesh: Mesh, node: str, ttl_s: int = 0) -> str:
    request = admin_pb2.CreateTokenRequest(node=node, site="paris", ttl_s=ttl_s)
    return mesh.call("CreateToken", request).token


def ports(mesh: Mesh) -> dict[str, int]:
    return json.loads((mesh.directory / "controlplane" / "ports.json").read_text())


def root_and_ca(mesh: Mesh, text: str, path) -> tuple[bytes, bytes]:
    path.write_text(text)
    read = enrol.read_token(path)
    met, ca = asyncio.run(contact.meet(read.addresses[0], read.root_sha256, int(time.time())))
    return met.newest, ca


def enrolment(mesh: Mesh, ca: bytes) -> enrolment_pb2_grpc.EnrolmentStub:
    credentials = grpc.ssl_channel_credentials(identity.pem(ca))
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    return enrolment_pb2_grpc.EnrolmentStub(
        grpc.secure_channel(f"127.0.0.1:{ports(mesh)['enrolment']}", credentials, options)
    )


def ask(stub, text: str, key=None, idempotency: str = "a" * 20):
    key = key or keys.generate_p256()
    try:
        return stub.Enrol(
            enrolment_pb2.EnrolRequest(token=text, csr=make_csr(key), idempotency_key=idempotency), timeout=20
        )
    except grpc.RpcError as exc:
        return exc.code()


def channel_of(mesh: Mesh, key: bytes | None, chain: bytes | None, address: str = "") -> grpc.Channel:
    """A channel to the API as whoever holds `key`."""
    credentials = grpc.ssl_channel_credentials(mesh.context().ca.read_bytes(), key, chain)
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    return grpc.secure_channel(address or f"127.0.0.1:{ports(mesh)['api']}", credentials, options)


def operator(mesh: Mesh) -> grpc.Channel:
    context = mesh.context()
    return channel_of(mesh, context.key.read_bytes(), context.certificate.read_bytes())


def admin(mesh: Mesh, key: bytes | None, chain: bytes | None) -> admin_pb2_grpc.AdminStub:
    return admin_pb2_grpc.AdminStub(channel_of(mesh, key, chain))


def authorities_of(mesh: Mesh) -> Authorities:
    """The mesh's own keys, as whoever has stolen the directory and the passphrase."""
    directory = mesh.directory / "controlplane"
    signer = FileSigner(directory / "keys", (directory / "passphrase").read_bytes().strip())
    return authorities.load(directory, signer)


@dataclasses.dataclass
class Holder:
    """A key and the chain it was given."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]

    def channel(self, mesh: Mesh) -> grpc.Channel:
        return channel_of(mesh, keys.dump_private(self.key, None), identity.pem(*self.chain))

    def renew(self, mesh: Mesh, new: ec.EllipticCurvePrivateKey, idempotency: str, csr: bytes = b""):
        request = identity_pb2.RenewRequest(csr=csr or make_csr(new), idempotency_key=idempotency)
        with self.channel(mesh) as open_:
            try:
                return identity_pb2_grpc.IdentityStub(open_).Renew(request, timeout=10)
            except grpc.RpcError as exc:
                return exc.code()


def enrolled(mesh: Mesh, stub, node: str) -> Holder:
    key = keys.generate_p256()
    return Holder(key, tuple(ask(stub, token(mesh, node), key, secrets.token_hex(10)).chain))


def ended(
    mesh: Mesh, holder: Holder, node: str, ago_s: int, site: str = "paris", country: str = "FR"
) -> Holder:
    """The same node and key with a certificate of the real CA that ended `ago_s` ago."""
    made = authorities_of(mesh)
    prepared = issue.prepare(
        Profile(lifetime_s=3600),
        node_id(TRUST_DOMAIN, country, site, node),
        Attributes(),
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
