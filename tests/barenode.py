"""A bare node: a key, a chain, and calls to the replica of its choice; what an agent would do, one step at a time."""

import base64
import json
import secrets
import threading
import time
from pathlib import Path

import grpc
from clients import ask, root_and_ca
from cryptography import x509

from agent import identity
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import (
    admin_pb2,
    enrolment_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
)
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh, Replica
from policies import payloads

CODE = grpc.StatusCode
HELLO = sync_pb2.SyncRequest(hello=sync_pb2.Hello(ingress_address="127.0.0.1:7443"))
PATIENCE_S = 20.0


class Node:
    """A bare node: its key and chain, and calls to the replica of its choice."""

    def __init__(self, mesh: Mesh, name: str, tmp_path) -> None:
        self.mesh, self.name, self.key = mesh, name, keys.generate_p256()
        text = mesh.call("CreateToken", admin_pb2.CreateTokenRequest(node=name, site="paris")).token
        root, ca = root_and_ca(mesh, text, tmp_path / name)
        credentials = grpc.ssl_channel_credentials(identity.pem(ca))
        address = f"127.0.0.1:{mesh.replicas[0].process.ports()['enrolment']}"
        with grpc.secure_channel(address, credentials, trust_domain_options()) as open_:
            self.chain = tuple(ask(enrolment_pb2_grpc.EnrolmentStub(open_), text, self.key).chain)
        assert identity.make(self.key, self.chain, root, int(time.time())).spiffe_id.node == name

    def channel(self, replica: Replica | str, chain=None) -> grpc.Channel:
        """To a replica, or to an address in front of one."""
        address = replica if isinstance(replica, str) else replica.api
        cas = self.mesh.context().ca.read_bytes()
        pem = keys.dump_private(self.key, None)
        credentials = grpc.ssl_channel_credentials(cas, pem, identity.pem(*(chain or self.chain)))
        return grpc.secure_channel(address, credentials, trust_domain_options())

    def renew(self, replica: Replica | str, key, idempotency: str, timeout_s: float = 15):
        with self.channel(replica) as open_:
            return self.ask(open_, key, idempotency, timeout_s)

    def ask(self, open_: grpc.Channel, key, idempotency: str, timeout_s: float = 15):
        """Renew on a channel that is open: the chain, or the status that it ends with."""
        request = identity_pb2.RenewRequest(csr=make_csr(key), idempotency_key=idempotency)
        answer = _answer(open_, "Renew", request, timeout_s)
        return answer if isinstance(answer, CODE) else tuple(answer.chain)

    def identity(self, replica: Replica | str, method: str, request, timeout_s: float = 15):
        """The answer of Identity at this replica, or the status that it ends with."""
        with self.channel(replica) as open_:
            return _answer(open_, method, request, timeout_s)

    def workload(self, name: str) -> None:
        wanted = admin_pb2.Workload(node=self.name, site="paris", name=name, selectors=["unix:uid:4242"])
        self.mesh.call("RegisterWorkload", wanted)

    def listen(self, replica: Replica | str, hello=HELLO) -> "Listening":
        return Listening(self, replica, hello)


class Listening:
    """A Sync stream in the background: the heartbeats that came, and how it ended."""

    def __init__(self, node: Node, replica: Replica | str, hello=HELLO) -> None:
        self._hello = hello
        self.beats: list[bytes] = []
        self.trust: list[bytes] = []
        self.workloads: list[bytes] = []
        self.delegations: list[bytes] = []
        self.came, self.ended, self.code = threading.Event(), threading.Event(), None
        self._say = threading.Event()
        self._channel = node.channel(replica)
        self._call = sync_pb2_grpc.SyncStub(self._channel).Connect(self._requests())
        threading.Thread(target=self._read, daemon=True).start()

    def _requests(self):
        yield self._hello
        self.ended.wait()

    def _read(self) -> None:
        try:
            for response in self._call:
                if response.trust_document:
                    self.trust.append(response.trust_document)
                if response.delegation:
                    self.delegations.append(response.delegation)
                if response.workloads:
                    self.workloads.append(response.workloads)
                if response.heartbeat:
                    self.beats.append(response.heartbeat)
                    self.came.set()
        except grpc.RpcError as exc:
            self.code = exc.code()
        self.ended.set()

    def next_beat(self, timeout_s: float) -> bool:
        self.came.clear()
        return self.came.wait(timeout_s)

    def holds(self) -> sync_pb2.SyncRequest:
        """A hello with proof of what was heard here."""
        held = sync_pb2.Held(heartbeat=self.beats[-1], delegation=self.delegations[-1])
        return sync_pb2.SyncRequest(hello=sync_pb2.Hello(ingress_address="127.0.0.1:7443", held=held))

    def keep(self, directory: Path) -> Path:
        """What was heard, as an agent has it on disk."""
        (directory / "documents").mkdir(parents=True)
        (directory / "documents" / "trust.json").write_bytes(self.trust[-1])
        (directory / "documents" / "delegation.json").write_bytes(self.delegations[-1])
        return directory

    def close(self) -> None:
        self._call.cancel()
        self.ended.wait(5)
        self._channel.close()


def _answer(open_: grpc.Channel, method: str, request, timeout_s: float):
    try:
        return getattr(identity_pb2_grpc.IdentityStub(open_), method)(request, timeout=timeout_s)
    except grpc.RpcError as exc:
        return exc.code()


def trust_domain_options():
    return [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]


def payload_of(document: bytes) -> bytes:
    return base64.b64decode(json.loads(document)["payload"])


def trust(document: bytes):
    return payloads.load_trust(payload_of(document))


def told_workloads(document: bytes):
    return payloads.load_workloads(payload_of(document)).workloads


def issuer(chain) -> bytes:
    return x509.load_der_x509_certificate(chain[0]).issuer.public_bytes()


def until(check) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def renewed(node: Node, replica: Replica):
    """A renewal at this replica, once its CA may be used."""
    key, idempotency = keys.generate_p256(), secrets.token_urlsafe(20)
    found: list = []

    def try_it() -> bool:
        found[:] = [node.renew(replica, key, idempotency)]
        return found[0] is not CODE.UNAVAILABLE

    until(try_it)
    assert isinstance(found[0], tuple), found[0]
    return key, idempotency, found[0]
