"""Where a replica listens, and as whom: its certificate for every handshake, its ports for whoever started it."""

import json
from pathlib import Path

import grpc

from certs import spiffe
from controlplane.errors import UnavailableError
from controlplane.rpc import server
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.own_certificate import OwnCertificate
from controlplane.services.mesh import setup
from controlplane.services.push.publish import Publisher


class ServerTls:
    """Our certificate as a control plane, and whom to believe: every handshake asks for the newest."""

    def __init__(self, made: Authorities, replica: str, publisher: Publisher) -> None:
        self._publisher, self._made = publisher, made
        self._certificate = OwnCertificate(made, spiffe.control_plane_id(made.trust_domain, replica))
        self._last: tuple[object, bytes, server.Tls] | None = None

    def current(self) -> server.Tls:
        key, chain = self._certificate.current()
        anchors = self._publisher.anchors
        if self._last is None or self._last[0] is not anchors or self._last[1] != chain:
            control_plane_cas = setup.pem(*anchors.control_plane_cas)
            newest = server.Tls(
                key=key,
                chain=chain,
                client_cas=setup.pem(*anchors.node_cas) + control_plane_cas,
                control_plane_cas=control_plane_cas,
                roots=setup.pem(*self._made.roots),
            )
            self._last = anchors, chain, newest  # asked for by every handshake of thousands
        return self._last[2]


def bind(of: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.bind(of, address, credentials)
    except RuntimeError as exc:
        raise UnavailableError(f"cannot listen on `{address}`", hint="is another process using it?") from exc


def write_ports(directory: Path, **ports: int) -> None:
    """Where we listen, for whoever started us with port 0. Written once everything answers."""
    temporary = directory / ".ports.json"
    temporary.write_text(json.dumps(ports))
    temporary.replace(directory / "ports.json")
