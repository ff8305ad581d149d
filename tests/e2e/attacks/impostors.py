"""Who poses as the control plane: certificates shown to an agent that enrols, renews or syncs. Invariant 2."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from attacks import mutants
from attacks.control import Control
from cryptography import x509
from forge import Forged
from pki import TD, Leaf, Pki

from agent import channel, contact, identity
from agent.errors import EnrolError
from certs import keys, spiffe
from controlplane.api.gen import identity_pb2, identity_pb2_grpc

CALL_S = 3
DNS = x509.DNSName(f"control-plane.{TD}")


@dataclass
class Impostor(identity_pb2_grpc.IdentityServicer):
    """A server of somebody's: it counts the requests that an agent entrusts it with."""

    asked: list[bytes] = field(default_factory=list)

    def Renew(self, request: identity_pb2.RenewRequest, _: object) -> identity_pb2.RenewResponse:  # noqa: N802 - named by the API
        self.asked.append(request.csr)
        return identity_pb2.RenewResponse()


@contextlib.contextmanager
def serving(leaf: Leaf, chain: tuple[bytes, ...]) -> Iterator[tuple[Impostor, str]]:
    impostor, server = Impostor(), grpc.server(ThreadPoolExecutor(1))
    identity_pb2_grpc.add_IdentityServicer_to_server(impostor, server)
    shown = identity.pem(leaf.der, *chain)
    credentials = grpc.ssl_server_credentials([(keys.dump_private(leaf.key, None), shown)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield impostor, f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


class Agent:
    """An agent of the mesh whose keys are in `pki`."""

    def __init__(self) -> None:
        self.pki = Pki(now=int(time.time()))
        leaf = self.pki.node()
        self.mine = identity.make(leaf.key, (leaf.der, self.pki.node_ca), self.pki.root, self.pki.now)

    def through(self, attack: Callable[["Agent"], bool]) -> bool:
        return attack(self)

    def renews_at(self, leaf: Leaf, *chain: bytes) -> bool:
        """Does it send its request to whoever shows this certificate?"""
        with serving(leaf, chain) as (impostor, address):
            asyncio.run(self._renew(address))
        return bool(impostor.asked)

    async def _renew(self, address: str) -> None:
        async with channel.mutual(address, TD, (self.pki.cp_ca,), self.mine) as open_:
            request = identity_pb2.RenewRequest(csr=b"x")
            with contextlib.suppress(grpc.aio.AioRpcError):
                await identity_pb2_grpc.IdentityStub(open_).Renew(request, timeout=CALL_S)

    def believes_at_first(self, leaf: Leaf, *chain: bytes) -> bool:
        """Does a newcomer, whose token names our root, take what this server shows as its control plane?"""
        wanted = hashlib.sha256(self.pki.root).hexdigest()
        with serving(leaf, chain) as (_, address):
            try:
                asyncio.run(contact.meet(address, wanted, self.pki.now))
            except EnrolError:
                return False
        return True


def posing(agent: Agent) -> Leaf:
    """A node certificate that our node CA would never sign: with the control plane's name."""
    uri = x509.UniformResourceIdentifier(str(spiffe.control_plane_id(TD, "replica-1")))
    names = x509.SubjectAlternativeName([uri, DNS])
    made = Forged(replace={x509.SubjectAlternativeName: (names, False)})
    return Leaf(made.key, made.der(agent.pki), None)


def of_another_mesh(agent: Agent) -> tuple[Leaf, Pki]:
    other = Pki(now=agent.pki.now)
    return other.control_plane(), other


def operator(agent: Agent) -> Leaf:
    return agent.pki.control_plane(spiffe.operator_id(TD, "eve"))


def foreign(agent: Agent) -> bool:
    leaf, other = of_another_mesh(agent)
    return agent.renews_at(leaf, other.cp_ca)


def foreign_first(agent: Agent) -> bool:
    leaf, other = of_another_mesh(agent)
    return agent.believes_at_first(leaf, other.cp_ca, other.root)


CONTROLS = (
    Control(
        2,
        "control plane: certified by its own CA",
        [
            (
                "a node certificate posing as the control plane",
                lambda a: a.renews_at(posing(a), a.pki.node_ca),
            ),
            ("a node's own certificate", lambda a: a.renews_at(a.pki.node(), a.pki.node_ca)),
            ("the control plane of another mesh", foreign),
        ],
        mutants.code(channel, "mutual", "identities.pem(*cas)", "identities.pem(*cas, *identity.chain[1:])"),
    ),
    Control(
        2,
        "control plane: by its name",
        [("an operator poses as the control plane", lambda a: a.renews_at(operator(a), a.pki.cp_ca))],
        mutants.code(channel, "_options", 'f"control-plane.{trust_domain}"', 'f"operator.{trust_domain}"'),
    ),
    Control(
        2,
        "first contact: the root of the token",
        [
            ("another mesh", foreign_first),
            (
                "a control plane that hides its root",
                lambda a: a.believes_at_first(a.pki.control_plane(), a.pki.cp_ca),
            ),
        ],
        mutants.code(
            channel,
            "of_hash",
            "[der for der in chain if hashlib.sha256(der).hexdigest() == root_sha256]",
            "chain[-1:]",
        ),
    ),
    Control(
        2,
        "first contact: a CA of the control plane",
        [
            (
                "a node below our root",
                lambda a: a.believes_at_first(a.pki.node(), a.pki.node_ca, a.pki.root),
            )
        ],
        mutants.code(channel, "below", "CaKind.CONTROL_PLANE", "CaKind.NODE"),
    ),
)
