"""The control plane as a harness: its API over real mTLS, and callers with any token, key and certificate."""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import clients
import embedded
import grpc
from attacks.control import Attack
from clients import Holder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent import identity
from agent.identity import Identity
from certs import keys
from controlplane.api.gen import admin_pb2, enrolment_pb2
from controlplane.cli.demo.mesh import Mesh

LATER = 2_000_000_000


@dataclass
class Plane:
    """One control plane for many attacks: each takes a name of its own."""

    mesh: Mesh
    root: bytes
    ca: bytes
    stub: Any
    _numbers: Iterator[int] = field(default_factory=count)

    def through(self, attack: Attack) -> bool:
        return bool(attack(self))

    def name(self) -> str:
        return f"n-{next(self._numbers)}"

    def token(self, name: str, ttl_s: int = 0) -> str:
        return clients.token(self.mesh, name, ttl_s)

    def enrols(self, token: str, key: Any = None, idempotency: str = "", csr: bytes = b"") -> Any:
        """The identity that a token was exchanged for, or None."""
        key = key or keys.generate_p256()
        request = enrolment_pb2.EnrolRequest(
            token=token,
            csr=csr or clients.make_csr(key),
            idempotency_key=idempotency or secrets.token_hex(10),
        )
        try:
            return self.identity(key, self.stub.Enrol(request, timeout=20).chain)
        except grpc.RpcError:
            return None

    def identity(self, key: ec.EllipticCurvePrivateKey, chain: Any) -> Identity:
        return identity.make(key, tuple(chain), self.root, LATER)

    def enrolled(self, name: str = "") -> tuple[str, Holder]:
        name = name or self.name()
        return name, clients.enrolled(self.mesh, self.stub, name)

    def state(self, name: str) -> str:
        return str(self.mesh.find(f"{name}.paris").state)

    def again(self, name: str) -> None:
        """Revoke a node, and let its name enrol once more."""
        self.mesh.revoke(f"{name}.paris")
        self.mesh.call("UnrevokeNode", admin_pb2.GetNodeRequest(node=name, site="paris"))
        self.enrolled(name)


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Plane]:
    mesh = embedded.control_plane(directory)
    try:
        root, ca = clients.root_and_ca(mesh, clients.token(mesh, "probe"), directory / "token")
        yield Plane(mesh, root, ca, clients.enrolment(mesh, ca))
    finally:
        mesh.stop()


def request(key: ec.EllipticCurvePrivateKey, subject: x509.Name, *extensions: x509.ExtensionType) -> bytes:
    """A signing request that asks for more than a key."""
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        made = made.add_extension(extension, critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
