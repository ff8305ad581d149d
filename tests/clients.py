"""Bare clients of the control plane's API, for tests that say what no agent and no operator would say."""

import asyncio
import json
import time

import grpc

from agent import channel, enrol, identity
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import admin_pb2, admin_pb2_grpc, enrolment_pb2, enrolment_pb2_grpc
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh


def token(mesh: Mesh, node: str, ttl_s: int = 0) -> str:
    request = admin_pb2.CreateTokenRequest(node=node, site="paris", ttl_s=ttl_s)
    return mesh.call("CreateToken", request).token


def ports(mesh: Mesh) -> dict[str, int]:
    return json.loads((mesh.directory / "controlplane" / "ports.json").read_text())


def root_and_ca(mesh: Mesh, text: str, path) -> tuple[bytes, bytes]:
    path.write_text(text)
    read = enrol.read_token(path)
    return asyncio.run(channel.first_contact(read.addresses[0], read.root_sha256, int(time.time())))


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


def channel_of(mesh: Mesh, key: bytes | None, chain: bytes | None) -> grpc.Channel:
    """A channel to the API as whoever holds `key`."""
    credentials = grpc.ssl_channel_credentials(mesh.context().ca.read_bytes(), key, chain)
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    return grpc.secure_channel(f"127.0.0.1:{ports(mesh)['api']}", credentials, options)


def operator(mesh: Mesh) -> grpc.Channel:
    context = mesh.context()
    return channel_of(mesh, context.key.read_bytes(), context.certificate.read_bytes())


def admin(mesh: Mesh, key: bytes | None, chain: bytes | None) -> admin_pb2_grpc.AdminStub:
    return admin_pb2_grpc.AdminStub(channel_of(mesh, key, chain))
